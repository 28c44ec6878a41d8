"""`extraction-detector replay`: recorded events through the same engine."""

import datetime as dt
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.options import Config

if TYPE_CHECKING:
    from detectors.alerts import Alert

_KAFKA = "kafka://"


def replay(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Files: .jsonl, .jsonl.gz, .jsonl.zst, or - for standard input. Or kafka://TOPIC, alone."
        ),
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
    begins: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="Of a topic: records appended at this time or later."),
    ] = None,
    ends: Annotated[
        str | None,
        typer.Option("--to", metavar="TIME", help="Of a topic: records appended before this time."),
    ] = None,
    account: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID", help="Only alerts about this account, or campaigns it is in; may be repeated."
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Processes; the result is the same for any number.")
    ] = 1,
    config: Config = None,
) -> None:
    """Replay recorded request events and report what would have been raised.

    The same events with the same configuration and key give the same alerts, with the same ids, as
    the live worker. Without --alerts, alerts go to standard output; the summary goes to standard error.
    With --control, `allow` and `suppress` silence alerts while they hold, and the summary says how many.
    A topic is read to where it ends now, by a consumer of its own; live workers do not notice.
    Of a source that breaks off, what could be read is replayed, and the exit code is 1.

    Example: extraction-detector replay events.jsonl.gz --alerts alerts.jsonl
             extraction-detector replay kafka://llm.requests --from 2026-03-01 --to 2026-03-08T12:00Z
    """
    from streams import spread
    from streams.codecs import encode_alert
    from streams.control import read_control
    from streams.errors import StreamsError
    from streams.settings import load_settings

    topic = _topic(sources)
    span = _span(begins, ends, topic)
    if workers > 1 and "-" in sources:
        raise typer.BadParameter("standard input can be read by one process only", param_hint="--workers")
    settings = load_settings(config)
    if alerts is not None and not alerts.parent.is_dir():
        raise typer.BadParameter(f"{alerts.parent} is not a directory", param_hint="--alerts")
    if control is not None:
        read_control(control)  # its mistakes are told before anything is replayed
    job = spread.Job(
        settings,
        settings.secret_key(development=True),
        paths=() if topic else tuple(Path(source) for source in sources),
        topic=topic or "",
        ranges=tuple(spread.topic_ranges(settings, topic, span)) if topic else (),
        control=control,
        now_ms=int(time.time() * 1000),
    )
    outcome = spread.run(job, workers=workers)
    found = [alert for alert in outcome.alerts if not account or _concerns(alert, account)]
    lines = b"".join(encode_alert(alert) + b"\n" for alert in found)
    if alerts is None:
        typer.echo(lines.decode(), nl=False)
    else:
        alerts.write_bytes(lines)
    _summary(outcome.read, outcome.refused, found, outcome.silenced)
    for remark in outcome.remarks:
        typer.echo(f"{topic}: {remark}", err=True)
    if outcome.damage:
        raise StreamsError(outcome.damage)


def _topic(sources: list[str]) -> str | None:
    topics = [source.removeprefix(_KAFKA) for source in sources if source.startswith(_KAFKA)]
    if topics and (len(sources) > 1 or not topics[0]):
        raise typer.BadParameter("give one topic, as kafka://TOPIC, or files; not both", param_hint="SOURCES")
    return topics[0] if topics else None


def _span(begins: str | None, ends: str | None, topic: str | None) -> tuple[int | None, int | None]:
    if (begins or ends) and topic is None:
        raise typer.BadParameter("only of a topic: give kafka://TOPIC", param_hint="--from, --to")
    first, last = (_time_ms(name, text) for name, text in (("--from", begins), ("--to", ends)))
    if first is not None and last is not None and first >= last:
        raise typer.BadParameter(f"{ends} is not after {begins}", param_hint="--to")
    return first, last


def _time_ms(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no time; write 2026-03-01 or 2026-03-01T12:00Z", param_hint=option
        ) from None
    return int((at if at.tzinfo else at.replace(tzinfo=dt.UTC)).timestamp() * 1000)


def _concerns(alert: "Alert", accounts: list[str]) -> bool:
    of = alert.subject
    return of.id in accounts or not set(accounts).isdisjoint(of.accounts or ())


def _summary(read: int, refused: dict[str, int], found: "list[Alert]", silenced: dict[str, int]) -> None:
    from detectors.campaigns import join

    def listed(counts: Mapping[str, int]) -> str:
        return (
            f" ({', '.join(f'{name} {count}' for name, count in sorted(counts.items()))})" if counts else ""
        )

    accounts = len({alert.subject.id for alert in found if alert.subject.type == "account"})
    campaigns = len(join(found))
    kinds = Counter(alert.kind for alert in found)
    typer.echo(
        f"{read} records read, {sum(refused.values())} refused{listed(refused)}; "
        f"{len(found)} alerts on {accounts} accounts"
        + (f" and {campaigns} campaigns" if campaigns else "")
        + listed(kinds)
        + (f"; {sum(silenced.values())} silenced{listed(silenced)}" if silenced else ""),
        err=True,
    )
