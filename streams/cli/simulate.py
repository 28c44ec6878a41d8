"""`extraction-detector simulate`: writes labelled traffic."""

import typer


def simulate() -> None:
    """Write labelled traffic to a file or a topic."""
    typer.echo("simulate is not built yet", err=True)
    raise typer.Exit(1)
