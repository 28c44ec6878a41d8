"""What `label`, `allow`, `suppress` and `ban` share: their options, and where a record goes."""

import datetime as dt
import getpass
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from detectors.control import Control

Account = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Id of the account, as events give it.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for whoever asks later.")]
Owner = Annotated[str | None, typer.Option("--owner", help="Who decides. Default: the user who runs this.")]
ControlFile = Annotated[
    Path | None,
    typer.Option(
        "--control",
        metavar="FILE",
        dir_okay=False,
        help="Append to this .jsonl file, for replay, instead of writing to the control topic.",
    ),
]
For = Annotated[
    str | None, typer.Option("--for", metavar="DURATION", help="How long it holds, such as 90m, 24h, 7d, 2w.")
]
Expires = Annotated[
    str | None,
    typer.Option("--expires", metavar="TIME", help="Until when it holds, such as 2026-03-09T00:00:00Z."),
]
End = Annotated[bool, typer.Option("--end", help="From now on it holds no longer.")]
From = Annotated[
    str | None,
    typer.Option("--from", metavar="TIME", help="From when it holds; for --control only. Default: now."),
]

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def decide(
    kind: Literal["label", "allow", "suppress", "ban"],
    account: str,
    *,
    reason: str,
    owner: str | None,
    control: Path | None,
    config: Path | None,
    since: str | None,
    lasts: str | None = None,
    expires: str | None = None,
    end: bool = False,
    alert_kinds: Sequence[str] = (),
    label: str | None = None,
) -> None:
    """Make one record, or one for each kind of alert, write them, and print them.

    Raises
    ------
    ConfigError
        What was given is no record; nothing is written.
    StreamsError
        It could not be written.
    """
    from detectors.control import SILENCING, Control
    from detectors.errors import ConfigError
    from streams.control import append_control
    from streams.control_topic import send_control
    from streams.settings import load_settings

    ways = sum((lasts is not None, expires is not None, end))
    if ways > 1 or (ways == 0 and kind in SILENCING):
        raise ConfigError(f"{kind}: give {'' if ways == 0 else 'only '}one of --for, --expires and --end")
    if since is not None and control is None:
        # The topic keeps the last record of each key, and the times of what is in force must be in its order.
        raise ConfigError("--from is for --control: on the topic a decision holds from now on")
    now = dt.datetime.now(dt.UTC)
    begins = (
        now.replace(microsecond=now.microsecond // 1000 * 1000) if since is None else _time("--from", since)
    )
    ends = begins if end else _ends(begins, lasts, expires)
    if ends is not None and ends < begins:
        raise ConfigError(
            f"--expires {expires} is before {begins.isoformat()}, when it begins; "
            "to lift what holds, give --end"
        )
    fields = {
        "schema": "extraction.control/1",
        "kind": kind,
        "subject": {"type": "account", "id": account},
        "owner": _user() if owner is None else owner,
        "reason": reason,
        "time": begins,
        "expires": ends,
        "label": label,
    }
    records = [Control.make({**fields, "alert_kind": one}) for one in alert_kinds or (None,)]
    if control is not None:
        append_control(control, records)
        where = str(control)
    else:
        where = f"topic {send_control(load_settings(config), records)}"
    _tell(records, where)


def _tell(records: "list[Control]", where: str) -> None:
    for record in records:
        typer.echo(record.encode().decode())
    typer.echo(f"written to {where}", err=True)


def _ends(begins: dt.datetime, lasts: str | None, expires: str | None) -> dt.datetime | None:
    from detectors.errors import ConfigError

    if lasts is None:
        return None if expires is None else _time("--expires", expires)
    found = re.fullmatch(r"([1-9][0-9]{0,5})([mhdw])", lasts)
    try:
        if found is not None:
            return begins + dt.timedelta(**{_UNITS[found[2]]: int(found[1])})
    except OverflowError:
        pass  # reported like any other duration that means nothing
    raise ConfigError(f"--for {lasts!r} cannot be used: give a duration such as 90m, 24h, 7d or 2w")


def _time(option: str, text: str) -> dt.datetime:
    from detectors.errors import ConfigError

    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise ConfigError(f"{option} {text!r} cannot be used: give a time such as 2026-03-02T00:00:00Z")
    return time


def _user() -> str:
    from detectors.errors import ConfigError

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no such user in a container, before and since Python 3.13
        raise ConfigError("--owner: this user has no name here, so say who decides") from None
