"""What people decided about accounts, and when it holds: labels, allowances, suppressions, bans."""

import bisect
import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

from detectors.errors import ConfigError
from detectors.policy import KINDS

_EVER_MS = 1 << 62
_MOST_TEXT = 1024
_NO_TEXT = "control record: its texts must be valid Unicode"
SILENCING = ("allow", "suppress")
"""Kinds of record that forbid alerts."""


class Subject(msgspec.Struct, frozen=True):
    """Whom a decision is about."""

    type: Literal["account"]
    id: str


class Control(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
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
    def make(fields: Mapping[str, object]) -> "Control":
        """The record with these fields, as plain values and times.

        Raises
        ------
        ConfigError
            They make no record; the message names everything that is wrong with them.
        """
        try:
            return Control.decode(_encoder.encode(fields))
        except UnicodeEncodeError:
            raise ConfigError(_NO_TEXT) from None

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
        """JSON document, the same bytes for the same record.

        Raises
        ------
        ConfigError
            A text has characters that no JSON document can hold.
        """
        try:
            return _encoder.encode(self)
        except UnicodeEncodeError:
            raise ConfigError(_NO_TEXT) from None

    @property
    def key(self) -> str:
        """What the record is about: of records with the same key, the latest holds."""
        return _key(self.kind, self.subject.id, self.alert_kind)


_decoder = msgspec.json.Decoder(Control)
_encoder = msgspec.json.Encoder(order="deterministic")


def _key(kind: str, account_id: str, alert_kind: str | None = None) -> str:
    # The id comes last because it may hold anything.
    return f"{kind}:{alert_kind}:account:{account_id}" if alert_kind else f"{kind}:account:{account_id}"


def _problems(record: Control) -> Iterator[str]:
    for name, text in (("subject.id", record.subject.id), ("owner", record.owner), ("reason", record.reason)):
        if not 0 < len(text.strip()) <= len(text) <= _MOST_TEXT:
            yield f"`{name}` must have 1 to {_MOST_TEXT} characters"
    for name, at in (("time", record.time), ("expires", record.expires)):
        if at is not None and at.tzinfo is None:
            yield f"`{name}` must have an offset from UTC, as in 2026-01-31T12:00:00Z"
    if record.kind in SILENCING and record.expires is None:
        yield f"`{record.kind}` must have `expires`: what silences alerts must end"
    if (record.kind == "suppress") != (record.alert_kind is not None):
        yield "`suppress`, and nothing else, must have `alert_kind`"
    elif record.alert_kind is not None and record.alert_kind not in KINDS:
        yield f"`alert_kind` must be one of {', '.join(KINDS)}"
    if (record.kind == "label") != (record.label is not None):
        yield "`label`, and nothing else, must have `label`"


_Entry = tuple[int, bytes, int | None]  # from, the record, until; in this order


class Register:
    """Decisions, asked by event time; the same for any order in which they arrive.

    One thread may change it while others ask.

    Parameters
    ----------
    most : int
        Records held, >= 1. Count.

    Notes
    -----
    Cost: O(log n) to ask and O(n) to take, for n records of one kind about one subject.
    """

    def __init__(self, most: int = 100_000) -> None:
        self._most = most
        # Tuples that are replaced, never changed, so that who asks sees the old or the new.
        self._held: dict[str, tuple[_Entry, ...]] = {}
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
        held = self._held.get(record.key, ())
        entry = (_ms(record.time), record.encode(), None if record.expires is None else _ms(record.expires))
        at = bisect.bisect_left(held, entry[:2], key=lambda one: one[:2])
        if at < len(held) and held[at][:2] == entry[:2]:
            return
        if self._count >= self._most:
            raise ConfigError(
                f"control: {self._most:,} records are held, the most there may be; drop old ones"
            )
        self._replace(record.key, (*held[:at], entry, *held[at:]))

    def forget(self, key: str) -> None:
        """Drop all records with a key, as if they had never been made."""
        self._replace(key, ())

    def forget_before(self, at_ms: int) -> int:
        """Drop what holds for no exchange at `at_ms` or later; returns how many records that were."""
        before = self._count
        for key, held in list(self._held.items()):
            at = _latest(held, at_ms)
            if at >= 0:
                until = held[at][2]
                ended = until is not None and until <= at_ms
                self._replace(key, held[at + ended :])
        return before - self._count

    def _replace(self, key: str, held: tuple[_Entry, ...]) -> None:
        self._count += len(held) - len(self._held.get(key, ()))
        if held:
            self._held[key] = held
        else:
            self._held.pop(key, None)

    def silences(self, account_id: str, alert_kind: str, at_ms: int) -> str | None:
        """Kind of the decision that forbids an alert, `allow` or `suppress`; None if there is none.

        Parameters
        ----------
        account_id, alert_kind : str
        at_ms : int
            Event time of the exchange that would raise the alert. Milliseconds.
        """
        if self._in_force(_key("allow", account_id), at_ms) is not None:
            return "allow"
        if self._in_force(_key("suppress", account_id, alert_kind), at_ms) is not None:
            return "suppress"
        return None

    def label(self, account_id: str, at_ms: int) -> str | None:
        """What the account was last found to be."""
        data = self._in_force(_key("label", account_id), at_ms)
        return None if data is None else _decoder.decode(data).label

    def found_extracting(self, account_id: str) -> bool:
        """Whether the account was at last labelled extraction, or stopped; for what learns from accounts."""
        label = self.label(account_id, _EVER_MS)
        if label is not None:
            return label == "extraction"
        return self._in_force(_key("ban", account_id), _EVER_MS) is not None

    def _in_force(self, key: str, at_ms: int) -> bytes | None:
        held = self._held.get(key, ())
        at = _latest(held, at_ms)
        if at < 0:
            return None
        _, data, until = held[at]
        return data if until is None or at_ms < until else None


def _latest(held: tuple[_Entry, ...], at_ms: int) -> int:
    """Index of the last record that was made by then; -1 if there is none."""
    return bisect.bisect_right(held, at_ms, key=lambda one: one[0]) - 1


def _ms(at: dt.datetime) -> int:
    return round(at.timestamp() * 1000)
