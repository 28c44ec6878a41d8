"""`extraction-detector replay`: recorded events through the same engine."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.options import Config

if TYPE_CHECKING:
    from detectors.alerts import Alert


def replay(
    sources: Annotated[
        list[Path], typer.Argument(help="Files: .jsonl, .jsonl.gz, .jsonl.zst, or - for standard input.")
    ],
    alerts: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write alerts here, one JSON object per line.")
    ] = None,
    control: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="Decisions that hold, by event time: extraction.control/1 records, one per line.",
        ),
    ] = None,
    config: Config = None,
) -> None:
    """Replay recorded request events and report what would have been raised.

    The same events with the same configuration and key give the same alerts, with the same ids, as
    the live worker. Without --alerts, alerts go to standard output; the summary goes to standard error.
    With --control, `allow` and `suppress` silence alerts while they hold, and the summary says how many.
    Of a damaged file, what could be read is replayed, and the exit code is 1.

    Example: extraction-detector replay events.jsonl.gz --alerts alerts.jsonl
    """
    from streams import offline
    from streams.codecs import encode_alert
    from streams.control import read_control
    from streams.replay import SourceError, in_order, read_records
    from streams.replay import replay as run
    from streams.settings import load_settings

    settings = load_settings(config)
    if alerts is not None and not alerts.parent.is_dir():
        raise typer.BadParameter(f"{alerts.parent} is not a directory", param_hint="--alerts")
    name = sources[0].name if len(sources) == 1 else f"{sources[0].name} and {len(sources) - 1} more"
    decided = None if control is None else read_control(control)
    pipeline = offline.build(settings, settings.secret_key(development=True), source=name, decided=decided)
    raised: list[Alert] = []
    damage = None
    try:
        raised.extend(run(pipeline, read_records(sources, max_bytes=settings.ingest.max_event_bytes)))
    except SourceError as error:
        damage = error
    found = in_order(raised)
    lines = b"".join(encode_alert(alert) + b"\n" for alert in found)
    if alerts is None:
        typer.echo(lines.decode(), nl=False)
    else:
        alerts.write_bytes(lines)
    _summary(pipeline.read, pipeline.refused, found, pipeline.silenced)
    if damage is not None:
        raise damage


def _summary(read: int, refused: dict[str, int], found: "list[Alert]", silenced: dict[str, int]) -> None:
    def listed(counts: Mapping[str, int]) -> str:
        return (
            f" ({', '.join(f'{name} {count}' for name, count in sorted(counts.items()))})" if counts else ""
        )

    accounts = len({alert.subject.id for alert in found})
    kinds = Counter(alert.kind for alert in found)
    typer.echo(
        f"{read} records read, {sum(refused.values())} refused{listed(refused)}; "
        f"{len(found)} alerts on {accounts} accounts{listed(kinds)}"
        + (f"; {sum(silenced.values())} silenced{listed(silenced)}" if silenced else ""),
        err=True,
    )
