"""Event-time order: merges the rows of several source partitions, so that interleaving does not matter.

Request buses are not keyed by account: one account's events come through several partitions, read
by several workers, and arrive interleaved differently each time. Each source partition promises a
low mark ("no later row of mine has a smaller `order_ms`"); rows below the least promise can no
longer be overtaken and are released, sorted by (`order_ms`, event id). That order is a function of
the source logs alone. The same idea as watermarks in Akidau et al. (2015), The Dataflow Model, VLDB.

A partition that has had nothing to read for `idle_ms` while others moved, or of which nothing was
heard for `silent_s`, is not waited for. If it then brings rows from below the watermark they are
late: they are applied at once, and counted. Time is what ingest's messages tell, so a backlog read
later is put in the same order as it would have been live.
"""

import dataclasses
import math
from collections.abc import Iterable

from streams.batches import Progress

_START = -(1 << 62)


@dataclasses.dataclass(slots=True)
class _Source:
    next_offset: int = 0
    low_ms: int = _START
    idle_ms: int = 0
    heard_s: float = -math.inf


class Watermark:
    """The event time below which nothing more is expected.

    Parameters
    ----------
    idle_ms : int
        A partition without new records for so long (wall clock, as its reader says) is not waited for.
    silent_s : float
        A partition of which nothing was heard for so long is not waited for. Seconds.
    """

    def __init__(self, *, idle_ms: int, silent_s: float, started_s: float = 0.0) -> None:
        self._idle_ms = idle_ms
        self._silent_s = silent_s
        self._started_s = started_s
        self._sources: dict[int, _Source] = {}
        self._woke_s = started_s
        self._asleep = True
        self.value = _START
        """Current watermark, ms since the epoch; never goes back."""

    def hear(self, partitions: int, progress: Iterable[Progress], now_s: float) -> None:
        """Take what a reader says of its partitions; older words than those known are ignored."""
        sources = self._sources
        for partition in range(partitions):
            if partition not in sources:
                sources[partition] = _Source(heard_s=self._started_s)
        for word in progress:
            source = sources.get(word.partition)
            if source is None:
                source = sources[word.partition] = _Source()
            if word.next_offset >= source.next_offset:
                source.next_offset = word.next_offset
                source.low_ms = max(source.low_ms, word.low_ms)
                source.idle_ms = word.idle_ms
                source.heard_s = now_s

    def moved(self, partitions: Iterable[int], now_s: float) -> None:
        """Rows of these partitions have come: whatever was said of them, they are not idle."""
        for partition in partitions:
            source = self._sources.setdefault(partition, _Source())
            source.idle_ms = 0
            source.heard_s = now_s

    def advance(self, newest_ms: int | None, now_s: float) -> int:
        """New watermark. `newest_ms` is the largest `order_ms` waiting, for when every source is idle."""
        # When everything was idle and something moves again, the others may only not have been heard of
        # yet: what they said of being idle counts again after another `idle_ms`.
        moving = any(source.idle_ms < self._idle_ms for source in self._sources.values())
        if moving and self._asleep:
            self._woke_s = now_s
        self._asleep = not moving
        settling = moving and (now_s - self._woke_s) * 1000 < self._idle_ms
        waited = [
            source.low_ms
            for source in self._sources.values()
            if (settling or source.idle_ms < self._idle_ms) and now_s - source.heard_s < self._silent_s
        ]
        if waited:
            self.value = max(self.value, min(waited))
        elif newest_ms is not None:
            self.value = max(self.value, newest_ms + 1)
        return self.value

    def silent(self, now_s: float) -> list[int]:
        """Partitions that are no longer waited for although they never said that they are idle."""
        return [
            partition
            for partition, source in self._sources.items()
            if source.idle_ms < self._idle_ms and now_s - source.heard_s >= self._silent_s
        ]

    def snapshot(self) -> list[list[int]]:
        """Plain form: the value, then per partition its number, next offset, low mark and idle time."""
        return [[self.value]] + [
            [partition, source.next_offset, source.low_ms, source.idle_ms]
            for partition, source in self._sources.items()
        ]

    def restore(self, plain: list[list[int]], now_s: float) -> None:
        """Take a snapshot back."""
        self.value = plain[0][0]
        self._sources = {
            partition: _Source(next_offset, low_ms, idle_ms, now_s)
            for partition, next_offset, low_ms, idle_ms in plain[1:]
        }
