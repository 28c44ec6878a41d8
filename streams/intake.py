"""From records as they were read to packed observations: the half without state, live and in replay."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from detectors.events import RequestEvent
from detectors.observation import ROW
from detectors.observe import Observer
from streams.batches import Rows
from streams.codecs import EventError, EventLimits, check_time, decode_event


class Record(NamedTuple):
    """One record of a source."""

    partition: int
    offset: int
    timestamp_ms: int  # when it was appended; for files, when it is read
    value: bytes | None


@dataclasses.dataclass(slots=True)
class Taken:
    """What became of some records.

    Attributes
    ----------
    rows : structured array, shape (n,)
        Packed observations in the order of the records, positions and order filled in.
    accounts, event_ids : list of str
        One per row.
    appended_ms : list of int
        One per row: when its record was appended.
    refused : list of (Record, EventError)
        Records that are not request events, with the reason.
    """

    rows: Rows
    accounts: list[str]
    event_ids: list[str]
    appended_ms: list[int]
    refused: list[tuple[Record, EventError]]


class Intake:
    """Decode, check and observe records, and give each its place in event-time order.

    An event's order is its event time, but never earlier than `lateness_ms` before the newest event
    of its source partition (so that the partition can promise a low mark), and never later than
    when it was appended (so that one clock running ahead cannot hold up everybody else). Both are
    functions of the source log alone.

    Parameters
    ----------
    observer : Observer
        Turns events into rows.
    limits : EventLimits
        Bounds on what is decoded.
    lateness_ms : int
        How far behind the newest event of its partition an event may be and still be put in order.
    earliest_ms : int
        Events from before this time are refused.
    skew_ms : int
        Events from further in the future than this, compared with their append time, are refused.
    """

    def __init__(
        self, observer: Observer, limits: EventLimits, *, lateness_ms: int, earliest_ms: int, skew_ms: int
    ) -> None:
        self._observer = observer
        self._limits = limits
        self._lateness_ms = lateness_ms
        self._earliest_ms = earliest_ms
        self._skew_ms = skew_ms
        self._newest: dict[int, int] = {}

    @property
    def fingerprint(self) -> str:
        """How text becomes numbers here; see `Observer.fingerprint`."""
        return self._observer.fingerprint

    def newest_ms(self, partition: int) -> int | None:
        """Newest event time of a source partition, or None before its first event."""
        return self._newest.get(partition)

    def low_ms(self, partition: int) -> int | None:
        """No later row of this partition will have a smaller `order_ms`; None before its first event."""
        newest = self._newest.get(partition)
        return None if newest is None else newest - self._lateness_ms

    def resume(self, partition: int, newest_ms: int | None) -> None:
        """Continue a partition whose newest event time is known; None starts it anew."""
        if newest_ms is None:
            self._newest.pop(partition, None)
        else:
            self._newest[partition] = newest_ms

    def take(self, records: Iterable[Record], wanted: Callable[[str], bool] | None = None) -> Taken:
        """Observe some records; refuses single records, never fails as a whole.

        Parameters
        ----------
        records : iterable of Record
        wanted : callable, optional
            Of an account, whether to observe it. The others' events only say how far time has come.
        """
        events: list[RequestEvent] = []
        places: list[Record] = []
        times: list[int] = []
        refused: list[tuple[Record, EventError]] = []
        for record in records:
            try:
                event = decode_event(record.value or b"", self._limits)
                time_ms = event.time_ms
                check_time(time_ms, record.timestamp_ms, self._earliest_ms, self._skew_ms)
            except EventError as error:
                refused.append((record, error))
                continue
            events.append(event)
            places.append(record)
            times.append(time_ms)
        order = self._order(places, times)
        if wanted is not None:
            kept = [at for at, event in enumerate(events) if wanted(event.account_id)]
            events, places = [events[at] for at in kept], [places[at] for at in kept]
            order = [order[at] for at in kept]
        if not events:
            return Taken(np.empty(0, dtype=ROW), [], [], [], refused)
        rows = self._observer.observe(events)
        rows["partition"] = [place.partition for place in places]
        rows["offset"] = [place.offset for place in places]
        rows["order_ms"] = order
        return Taken(
            rows,
            [event.account_id for event in events],
            [event.event_id for event in events],
            [place.timestamp_ms for place in places],
            refused,
        )

    def _order(self, places: Sequence[Record], times: Sequence[int]) -> list[int]:
        newest, lateness_ms = self._newest, self._lateness_ms
        order = []
        for place, time_ms in zip(places, times, strict=True):
            at = min(time_ms, place.timestamp_ms)
            known = newest.get(place.partition)
            if known is None or at > known:
                newest[place.partition] = at
            elif at < known - lateness_ms:
                at = known - lateness_ms
            order.append(at)
        return order
