"""`extraction-detector evaluate`: detection quality against labels."""

from pathlib import Path
from typing import Annotated

import typer

from streams.cli.options import Config, Output, Report


def evaluate(
    sources: Annotated[list[Path], typer.Argument(help="Recorded events, as for replay.")],
    labels: Annotated[Path, typer.Option(help="CSV: account_id,label,kind,campaign.")],
    config: Config = None,
    output: Report = Output.TEXT,
) -> None:
    """Replay labelled events and count which accounts were found and which were flagged wrongly.

    Example: extraction-detector simulate --out events.jsonl.gz --labels labels.csv
             extraction-detector evaluate events.jsonl.gz --labels labels.csv
    """
    import msgspec

    from streams import evaluation, offline
    from streams.replay import read_records
    from streams.replay import replay as run
    from streams.settings import load_settings

    settings = load_settings(config)
    known = evaluation.read_labels(labels)
    pipeline = offline.build(settings, settings.secret_key(development=True), source=sources[0].name)
    records = read_records(sources, max_bytes=settings.ingest.max_event_bytes)
    rows = evaluation.score(known, run(pipeline, records))
    if output is Output.JSON:
        typer.echo(msgspec.json.format(msgspec.json.encode(rows)).decode())
    else:
        typer.echo(evaluation.table(rows))
        typer.echo(
            "exchanges: an account's exchanges until its first alert, median over alerted accounts", err=True
        )
