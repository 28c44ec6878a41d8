"""One observations partition: repeats dropped, events put in order, applied to accounts, state handed out.

No input or output and no clock of its own. The live worker, replay of files and the benchmark all
run this class, so they cannot differ.

What is saved together (atomically, see `state.py`) is the set of accounts changed since the last
checkpoint and a position: message `done` (every row of it and of earlier messages is applied),
message `received`, the watermark, and which source offsets had been seen at `done`. From that the
set of applied rows is known exactly: all of the messages up to `done`, and of those up to
`received` every row below the watermark. Re-read rows are therefore skipped or applied, never
guessed at.
"""

import dataclasses
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np

from detectors.alerts import Alert
from detectors.base import Plain
from detectors.engine import Account, Engine
from detectors.errors import StateError
from detectors.observation import rows_to_observations
from streams.batches import Batch, Rows
from streams.envelope import last_ms_of, seal, unseal
from streams.ordering import Watermark

POSITION_VERSION = 1
_NOTHING = -1
_EXPIRY_EVERY_MS = 3_600_000  # event time between two sweeps: a sweep looks at every account


class Position(msgspec.Struct, array_like=True, frozen=True):
    """Where a partition's state stands; what recovery continues from."""

    version: int
    done: int
    received: int
    watermark: list[list[int]]
    high_water: dict[str, dict[int, int]]
    applied: int
    clock_ms: int


_encode_position = msgspec.msgpack.Encoder().encode
_decode_position = msgspec.msgpack.Decoder(Position).decode


def decode_position(position: bytes) -> Position:
    """Read a position record.

    Raises
    ------
    StateError
        The bytes are not a position of this version.
    """
    try:
        saved = _decode_position(position)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StateError(f"position record cannot be read: {error}") from None
    if saved.version != POSITION_VERSION:
        raise StateError(
            f"position record has version {saved.version}, this release reads {POSITION_VERSION}: "
            "run the release that wrote it, or newer"
        )
    return saved


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one shard.

    Attributes
    ----------
    max_accounts : int
        Accounts kept; beyond it those whose last exchange is oldest are dropped.
    max_state_bytes : int
        Largest record of one account.
    live_accounts : int
        Accounts kept as live objects; the others rest as bytes.
    max_buffered_rows : int
        Rows that may wait for a slower source partition; beyond it the older half is released.
    ttl_ms : int
        Accounts silent for longer, in event time, are dropped; the engine would start them afresh.
    idle_ms, silent_s
        See `ordering.Watermark`.
    """

    max_accounts: int = 200_000
    max_state_bytes: int = 4096
    live_accounts: int = 20_000
    max_buffered_rows: int = 200_000
    ttl_ms: int = 30 * 86_400_000
    idle_ms: int = 1000
    silent_s: float = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything that must be saved together, and what may be acknowledged after it."""

    position: bytes
    records: list[tuple[str, bytes | None]]
    done: int


class Raised(NamedTuple):
    """An alert, and when the oldest record of the message that brought its event was appended."""

    alert: Alert
    appended_ms: int


@dataclasses.dataclass(slots=True)
class _Held:
    """Rows of one message that wait for their turn."""

    offset: int
    seen: dict[str, dict[int, int]]  # highest source offsets this message brought
    waiting: int
    appended_ms: int


class Shard:
    """State and order of one observations partition.

    Parameters
    ----------
    engine : Engine
        Applies observations; may be shared by the shards of a process.
    limits : Limits
        Bounds.
    """

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self._engine = engine
        self._limits = limits
        self._watermark = self._new_watermark(0.0)
        self._clock_s = 0.0  # of ingest, as its messages tell
        self._live: dict[str, Account] = {}
        self._resting: dict[str, bytes] = {}
        self._dirty: dict[str, None] = {}
        self._dropped: dict[str, None] = {}
        self._held: deque[_Held] = deque()
        self._buffer: list[tuple[Rows, list[str], list[str], str, _Held]] = []
        self._buffered = 0
        self._high_water: dict[str, dict[int, int]] = {}  # at the newest message
        self._high_water_done: dict[str, dict[int, int]] = {}  # at message `done`
        self._done = _NOTHING
        self._received = _NOTHING
        self._skip_below: tuple[int, int] = (_NOTHING, 0)
        self._swept_ms: int | None = None
        self.applied = 0
        """Rows applied since the shard was first made, over all owners."""
        self.skipped: Counter[str] = Counter()
        """Rows and accounts that were counted but not applied, by reason."""

    @property
    def done(self) -> int:
        """Offset of the last message all of whose rows are applied; -1 for none."""
        return self._done

    @property
    def received(self) -> int:
        """Offset of the last message taken in; -1 for none."""
        return self._received

    @property
    def buffered(self) -> int:
        """Rows that wait for their turn in event-time order."""
        return self._buffered

    @property
    def accounts(self) -> int:
        """Accounts with state."""
        return len(self._live) + len(self._resting)

    @property
    def watermark_ms(self) -> int:
        """Event time below which nothing more is expected."""
        return self._watermark.value

    def receive(self, offset: int, batch: Batch) -> list[Raised]:
        """Take one message, in offset order, and apply what its arrival releases.

        Returns
        -------
        list of Raised
            Alerts raised, in the order in which the events were applied.
        """
        if offset <= self._done:
            self.skipped["message_already_applied"] += 1
            return []
        if offset <= self._received:
            raise ValueError(f"message {offset} after {self._received}: messages must come in offset order")
        self._received = offset
        held = _Held(offset, {}, 0, batch.appended_ms)
        self._held.append(held)
        if not self._clock_s and batch.sent_ms:
            self._watermark = self._new_watermark(batch.sent_ms / 1000)
        self._clock_s = max(self._clock_s, batch.sent_ms / 1000)
        if batch.event_ids:
            self._take(batch, held)
            # Progress travels on the last message of a flush; rows before it speak for themselves.
            self._watermark.moved(np.unique(batch.records()["partition"]).tolist(), self._clock_s)
        self._watermark.hear(batch.source_partitions, batch.progress, self._clock_s)
        return self._release(self._clock_s)

    def _new_watermark(self, started_s: float) -> Watermark:
        return Watermark(idle_ms=self._limits.idle_ms, silent_s=self._limits.silent_s, started_s=started_s)

    def tick(self, waited_s: float) -> list[Raised]:
        """Apply what may be applied because nothing has come for `waited_s`; returns the alerts raised.

        Only for a shard that has received all there is: a backlog tells the time by itself.
        """
        return self._release(self._clock_s + waited_s) if self._buffered else []

    def finish(self) -> list[Raised]:
        """Apply everything that waits: the input has ended."""
        return self._apply(self._watermark_past_everything()) if self._buffered else []

    def checkpoint(self) -> Checkpoint:
        """What has changed since the last checkpoint. Call between messages; save it as one unit."""
        records: list[tuple[str, bytes | None]] = []
        for account_id in self._dirty:
            account = self._live[account_id]
            record = seal(account.last_ms, self._engine.snapshot(account))
            if len(record) > self._limits.max_state_bytes:
                # The engine bounds its state; should that ever fail, one account pays, not the worker.
                self.skipped["state_too_large"] += 1
                del self._live[account_id]
                records.append((account_id, None))
                continue
            records.append((account_id, record))
        records.extend((account_id, None) for account_id in self._dropped if account_id not in self._dirty)
        rest_now = len(self._live) > self._limits.live_accounts
        if rest_now:
            self._rest(dict(records))
        self._dirty.clear()
        self._dropped.clear()
        position = Position(
            POSITION_VERSION,
            self._done,
            max(self._received, self._skip_below[0]),
            self._watermark.snapshot(),
            self._high_water_done,
            self.applied,
            int(self._clock_s * 1000),
        )
        return Checkpoint(_encode_position(position), records, self._done)

    def rest(self) -> None:
        """Turn accounts beyond `live_accounts` into bytes: for a shard whose state nobody saves."""
        if len(self._live) > self._limits.live_accounts:
            self._rest({})
            self._dirty.clear()
            self._dropped.clear()

    def restore(self, position: bytes | None, records: dict[str, bytes]) -> None:
        """Start from saved state.

        Raises
        ------
        StateError
            The position cannot be read.
        """
        self._resting = dict(records)
        if position is None:
            return
        saved = decode_position(position)
        self._clock_s = saved.clock_ms / 1000
        self._watermark = self._new_watermark(self._clock_s)
        self._watermark.restore(saved.watermark, self._clock_s)
        self._done = self._received = saved.done
        self._skip_below = (saved.received, self._watermark.value)
        self._high_water_done = saved.high_water
        self._high_water = {source: dict(offsets) for source, offsets in saved.high_water.items()}
        self.applied = saved.applied

    def account(self, account_id: str) -> Account | None:
        """Live state of an account, or None if there is none."""
        if account_id in self._live:
            return self._live[account_id]
        record = self._resting.get(account_id)
        return None if record is None else self._engine.restore(account_id, unseal(record))

    def snapshots(self) -> dict[str, Plain]:
        """State of every account as it would be saved, by id."""
        found = {account_id: self._engine.snapshot(account) for account_id, account in self._live.items()}
        found.update((account_id, unseal(record)) for account_id, record in self._resting.items())
        return found

    def account_ids(self) -> list[str]:
        """Accounts with state, in no particular order."""
        return [*self._live, *self._resting]

    # -- taking in -------------------------------------------------------------------------------

    def _take(self, batch: Batch, held: _Held) -> None:
        rows = batch.records()
        accounts, event_ids = batch.account_ids(), batch.event_ids
        fresh = self._fresh(batch.source, rows, held)
        repeats = len(rows) - int(np.count_nonzero(fresh))
        if repeats:
            self.skipped["repeated_by_ingest"] += repeats
        received, watermark = self._skip_below
        if held.offset <= received:
            applied_before = fresh & (rows["order_ms"] < watermark)
            self.skipped["applied_before_restart"] += int(np.count_nonzero(applied_before))
            fresh &= ~applied_before
        if not fresh.all():
            kept = np.flatnonzero(fresh)
            rows = rows[kept]
            accounts = [accounts[i] for i in kept.tolist()]
            event_ids = [event_ids[i] for i in kept.tolist()]
        if len(rows):
            late = int(np.count_nonzero(rows["order_ms"] < self._watermark.value))
            if late:
                self.skipped["late_applied_out_of_order"] += late
            held.waiting = len(rows)
            self._buffer.append((rows, accounts, event_ids, batch.source, held))
            self._buffered += len(rows)

    def _fresh(self, source: str, rows: Rows, held: _Held) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which rows were not seen before: ingest repeats rows after a restart, in source order."""
        high_water = self._high_water.setdefault(source, {})
        brought = held.seen.setdefault(source, {})
        fresh = np.empty(len(rows), dtype=bool)
        partitions = rows["partition"]
        for partition in np.unique(partitions).tolist():
            here = partitions == partition
            offsets = rows["offset"][here]
            known = high_water.get(partition, _NOTHING)
            # One record may hold several requests, so equal offsets inside a message are distinct rows.
            fresh[here] = offsets > known
            newest = int(offsets.max())
            if newest > known:
                high_water[partition] = brought[partition] = newest
        return fresh

    # -- releasing -------------------------------------------------------------------------------

    def _watermark_past_everything(self) -> int:
        newest = max(int(rows["order_ms"].max()) for rows, *_ in self._buffer)
        self._watermark.value = max(self._watermark.value, newest + 1)
        return self._watermark.value

    def _release(self, now_s: float) -> list[Raised]:
        if self._received < self._skip_below[0]:
            # Still re-reading: what lies below the saved watermark is applied, and the watermark stays, so
            # that one position describes what is applied also if the shard is interrupted again.
            self._settle()
            return []
        newest = max(int(rows["order_ms"].max()) for rows, *_ in self._buffer) if self._buffer else None
        watermark = self._watermark.advance(newest, now_s)
        if self._buffered > self._limits.max_buffered_rows:
            waiting = np.concatenate([rows["order_ms"] for rows, *_ in self._buffer])
            watermark = self._watermark.value = max(watermark, int(np.median(waiting)) + 1)
            self.skipped["buffer_overflow"] += 1
        if not self._buffer:
            self._settle()
            return []
        return self._apply(watermark)

    def _apply(self, watermark: int) -> list[Raised]:
        ready: list[tuple[int, str, int, Any, str, _Held]] = []
        waiting = []
        for entry in self._buffer:
            rows, accounts, event_ids, source, held = entry
            due = rows["order_ms"] < watermark
            count = int(np.count_nonzero(due))
            if count == len(rows):
                observations = rows_to_observations(accounts, event_ids, rows)
            elif count:
                at = np.flatnonzero(due)
                picked = at.tolist()
                observations = rows_to_observations(
                    [accounts[i] for i in picked], [event_ids[i] for i in picked], rows[at]
                )
                left = np.flatnonzero(~due)
                stay = left.tolist()
                waiting.append(
                    (rows[left], [accounts[i] for i in stay], [event_ids[i] for i in stay], source, held)
                )
            else:
                waiting.append(entry)
                continue
            held.waiting -= count
            ready.extend((o.order_ms, o.event_id, o.offset, o, source, held) for o in observations)
        self._buffer = waiting
        self._buffered -= len(ready)
        ready.sort(key=_order)
        alerts = []
        apply, subject_id = self._engine.apply, self._engine.subject_id
        for _, _, _, seen, source, held in ready:
            alert = apply(self._open(subject_id(seen)), seen, source)
            if alert is not None:
                alerts.append(Raised(alert, held.appended_ms))
        self.applied += len(ready)
        self._expire(watermark)
        excess = self.accounts - self._limits.max_accounts
        if excess > 0:
            # Some more than needed, so that the sweep is paid once per hundredth of the limit.
            self._drop_oldest(excess + self._limits.max_accounts // 100)
        self._settle()
        return alerts

    def _settle(self) -> None:
        """Move `done` past messages that have nothing waiting."""
        while self._held and not self._held[0].waiting:
            held = self._held.popleft()
            self._done = held.offset
            for source, offsets in held.seen.items():
                self._high_water_done.setdefault(source, {}).update(offsets)

    # -- accounts --------------------------------------------------------------------------------

    def _open(self, account_id: str) -> Account:
        account = self._live.get(account_id)
        if account is None:
            record = self._resting.pop(account_id, None)
            if record is None:
                account = self._engine.fresh(account_id)
            else:
                try:
                    account = self._engine.restore(account_id, unseal(record))
                except StateError:
                    # A damaged record costs one account its history, never the partition its worker.
                    self.skipped["state_unreadable"] += 1
                    account = self._engine.fresh(account_id)
            self._live[account_id] = account
        self._dirty[account_id] = None
        return account

    def _rest(self, saved: Mapping[str, bytes | None]) -> None:
        """Turn the accounts that have been live longest back into bytes, down to nine tenths of the limit."""
        excess = len(self._live) - self._limits.live_accounts * 9 // 10
        for account_id in list(self._live)[:excess]:
            account = self._live.pop(account_id)
            record = saved.get(account_id)
            self._resting[account_id] = record or seal(account.last_ms, self._engine.snapshot(account))

    def _last_ms(self) -> dict[str, int]:
        last = {account_id: account.last_ms for account_id, account in self._live.items()}
        last.update((account_id, last_ms_of(record)) for account_id, record in self._resting.items())
        return last

    def _expire(self, watermark: int) -> None:
        """Drop the accounts that have been silent for too long, once per hour of event time."""
        if self._swept_ms is None:
            self._swept_ms = watermark
        if watermark - self._swept_ms < _EXPIRY_EVERY_MS:
            return
        self._swept_ms = watermark
        oldest = watermark - self._limits.ttl_ms
        for account_id, last_ms in self._last_ms().items():
            if last_ms < oldest:
                self._drop(account_id, "account_expired")

    def _drop_oldest(self, count: int) -> None:
        last = self._last_ms()
        for account_id in sorted(last, key=lambda name: (last[name], name))[:count]:
            self._drop(account_id, "account_evicted")

    def _drop(self, account_id: str, reason: str) -> None:
        self._live.pop(account_id, None)
        self._resting.pop(account_id, None)
        self._dirty.pop(account_id, None)
        self._dropped[account_id] = None
        self.skipped[reason] += 1


_order: Callable[[tuple[int, str, int, Any, str, _Held]], tuple[int, str, int]] = lambda item: item[:3]  # noqa: E731
