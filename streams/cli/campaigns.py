"""`extraction-detector campaigns`: alerts of pools joined into campaigns."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from detectors.campaigns import Campaign

_SHOWN = 10


def campaigns(
    alerts: Annotated[
        list[Path],
        typer.Argument(help="Alerts, one JSON object per line: .jsonl, .jsonl.gz, .jsonl.zst, or -."),
    ],
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object per campaign and line, members complete.")
    ] = False,
) -> None:
    """Join alerts about what accounts share into campaigns: one incident, one list of members.

    A harvest whose accounts share a card, a device and a network raises an alert for each. Two of them are
    of one campaign if they have two members, and half of the smaller one's members, in common. Alerts
    about single accounts are passed over; repeats count once.

    Example: extraction-detector replay events.jsonl.gz --alerts alerts.jsonl
             extraction-detector campaigns alerts.jsonl
    """
    import msgspec

    from detectors.campaigns import join
    from streams.replay import read_alerts

    found = join(read_alerts(alerts))
    if json:
        for one in found:
            typer.echo(msgspec.json.encode(one).decode())
        return
    for one in found:
        typer.echo(_told(one))
    typer.echo(f"{len(found)} campaigns", err=True)


def _told(one: "Campaign") -> str:
    shown = ", ".join(one.members[:_SHOWN])
    more = len(one.members) - _SHOWN
    lines = [
        f"{one.id}  {one.severity.upper()}  {len(one.members)} accounts, at least {one.exchanges} exchanges",
        f"  {one.first_time} to {one.last_time}, {len(one.alert_ids)} alerts: {', '.join(one.signals)}",
        *(
            f"  share {link.kind} {link.value}: {link.accounts} accounts, {link.exchanges} exchanges"
            for link in one.links
        ),
        f"  accounts: {shown}" + (f" and {more} more (--json lists them)" if more > 0 else ""),
    ]
    return "\n".join(lines) + "\n"
