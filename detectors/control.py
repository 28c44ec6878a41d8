"""What people decided about accounts, and when it holds: labels, allowances, suppressions, bans."""

import bisect
import datetime as dt
from collections.abc import Iterator
from typing import Literal

import msgspec

from detectors.errors import ConfigError
from detectors.policy import KINDS

_MOST_TEXT = 1024
_EXPIRING = ("allow", "suppress")


class Subject(msgspec.Struct, frozen=True):
    """Whom a decision is about."""

    type: Literal["account"]
    id: str


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """One decision; a record of `extraction.control/1`.

    Parameters
    ----------
    schema : str
        `extraction.control/1`.
    kind : str
        `allow`: no alert on the subject. `suppress`: none of one kind. `label`: what the subject was found
        to be; a label never silences. `ban`: the subject was stopped.
    subject : Subject
    owner, reason : str
        Who decided, and why; neither may be empty.
    time : datetime
        From when it holds, with an offset from UTC. Of several records of one kind about one subject, the
        one with the latest time before an exchange holds for it.
    expires : datetime or None
        Until when; an allowance or a suppression must have one. No later than `time` ends what held.
    alert_kind : str or None
        Kind of alert that a suppression is for.
    label : str or None
        `extraction` or `ordinary`, for a label.
    """

    schema: Literal["extraction.control/1"]
    kind: Literal["label", "allow", "suppress", "ban"]
    subject: Subject
    owner: str
    reason: str
    time: dt.datetime
    expires: dt.datetime | None = None
    alert_kind: str | None = None
    label: Literal["extraction", "ordinary"] | None = None

    @staticmethod
    def decode(data: bytes) -> "Control":
        """The record in a JSON document.

        Raises
        ------
        ConfigError
            It is no such record; the message names everything that is wrong with it.
        """
        try:
            record = _decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigError(f"control record: {error}") from None
        problems = list(_problems(record))
        if problems:
            raise ConfigError("control record: " + "; ".join(problems))
        return record

    def encode(self) -> bytes:
        """JSON document, the same bytes for the same record."""
        return msgspec.json.encode(self, order="deterministic")


_decoder = msgspec.json.Decoder(Control)


def _problems(record: Control) -> Iterator[str]:
    for name, text in (("subject.id", record.subject.id), ("owner", record.owner), ("reason", record.reason)):
        if not 0 < len(text.strip()) <= len(text) <= _MOST_TEXT:
            yield f"`{name}` must have 1 to {_MOST_TEXT} characters"
    for name, at in (("time", record.time), ("expires", record.expires)):
        if at is not None and at.tzinfo is None:
            yield f"`{name}` must have an offset from UTC, as in 2026-01-31T12:00:00Z"
    if record.kind in _EXPIRING and record.expires is None:
        yield f"`{record.kind}` must have `expires`: what silences alerts must end"
    if (record.kind == "suppress") != (record.alert_kind is not None):
        yield "`suppress`, and nothing else, must have `alert_kind`"
    elif record.alert_kind is not None and record.alert_kind not in KINDS:
        yield f"`alert_kind` must be one of {', '.join(KINDS)}"
    if (record.kind == "label") != (record.label is not None):
        yield "`label`, and nothing else, must have `label`"


class Register:
    """Decisions, asked by event time; the same for any order in which they arrive.

    Parameters
    ----------
    most : int
        Records held, >= 1. Count.

    Notes
    -----
    Cost: O(log n) to ask, n records of one kind about one subject.
    """

    def __init__(self, most: int = 100_000) -> None:
        self._most = most
        # By kind, subject and kind of alert: (from, canonical bytes, until), in this order.
        self._held: dict[tuple[str, str, str], list[tuple[int, bytes, int | None]]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def apply(self, record: Control) -> None:
        """Take a record; one that is held already changes nothing.

        Raises
        ------
        ConfigError
            There is no room for it.
        """
        held = self._held.setdefault((record.kind, record.subject.id, record.alert_kind or ""), [])
        entry = (_ms(record.time), record.encode(), None if record.expires is None else _ms(record.expires))
        at = bisect.bisect_left(held, entry[:2], key=lambda one: one[:2])
        if at < len(held) and held[at][:2] == entry[:2]:
            return
        if self._count >= self._most:
            raise ConfigError(
                f"control: {self._most:,} records are held, the most there may be; drop old ones"
            )
        held.insert(at, entry)
        self._count += 1

    def silences(self, account_id: str, alert_kind: str, at_ms: int) -> str | None:
        """Kind of the decision that forbids an alert, `allow` or `suppress`; None if there is none.

        Parameters
        ----------
        account_id, alert_kind : str
        at_ms : int
            Event time of the exchange that would raise the alert. Milliseconds.
        """
        if self._in_force("allow", account_id, "", at_ms) is not None:
            return "allow"
        return "suppress" if self._in_force("suppress", account_id, alert_kind, at_ms) is not None else None

    def label(self, account_id: str, at_ms: int) -> str | None:
        """What the account was last found to be."""
        record = self._in_force("label", account_id, "", at_ms)
        return None if record is None else record.label

    def _in_force(self, kind: str, account_id: str, alert_kind: str, at_ms: int) -> Control | None:
        held = self._held.get((kind, account_id, alert_kind), ())
        at = bisect.bisect_right(held, at_ms, key=lambda one: one[0])
        if not at:
            return None
        _, data, until = held[at - 1]
        return _decoder.decode(data) if until is None or at_ms < until else None


def _ms(at: dt.datetime) -> int:
    return round(at.timestamp() * 1000)
