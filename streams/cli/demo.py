"""`extraction-detector demo`: everything on one machine."""

import typer


def demo() -> None:
    """Show the pipeline at work on this machine."""
    typer.echo("demo is not built yet", err=True)
    raise typer.Exit(1)
