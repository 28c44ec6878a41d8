"""Reads a topic's past for replay: every partition from one time to another, beside the live workers.

A consumer of its own, assigned by hand: it joins no group and commits nothing, so live workers do not
notice. The end is fixed when reading begins; what is appended later is for the next replay.
"""

import dataclasses
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.errors import StreamsError
from streams.intake import Record

_TURN_S = 0.5
_REACH_S = 10.0
_MOST_WAITING = 4_000  # records of one partition that are read ahead of the others
_FETCHED = 500


class HistoryError(StreamsError):
    """A topic cannot be read; names it and what to do."""


@dataclasses.dataclass(slots=True)
class Range:
    """What is read of one partition.

    Attributes
    ----------
    partition : int
    first, end : int
        Offsets, `end` not included; both as they were when reading began.
    wanted : int
        Offset from which reading was asked for. Smaller than `first` where retention has deleted records.
    read : int
        Records read so far. Fewer than `end - first` where offsets hold no record: transaction markers,
        or records that compaction has removed.
    """

    partition: int
    first: int
    end: int
    wanted: int
    read: int = 0


class TopicHistory:
    """The records of a topic, from one time to another.

    Partitions are read together, the one that is furthest behind in time first, so that little waits for
    the others. Bounded: at most 4,000 records of each partition are held.

    Parameters
    ----------
    client : mapping
        librdkafka settings that reach the cluster.
    topic : str
    from_ms, to_ms : int, optional
        Append times, ms since the epoch, `to_ms` not included. None: from the oldest record there is, or
        to the newest.
    ranges : sequence of Range, optional
        What to read, in place of times: as another history of the topic found it.
    now_ms : int, optional
        Stands for append times that are missing or in the future; None takes the time of the call.
    timeout_s : float
        Longest pause without a record while some are due. Seconds.

    Raises
    ------
    HistoryError
        No broker answers, there is no such topic, or it may not be read.
    """

    def __init__(
        self,
        client: Mapping[str, Any],
        topic: str,
        *,
        from_ms: int | None = None,
        to_ms: int | None = None,
        ranges: Sequence[Range] | None = None,
        now_ms: int | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        self._topic = topic
        self._timeout_s = timeout_s
        self._now_ms = int(time.time() * 1000) if now_ms is None else now_ms
        self._consumer = Consumer(
            {
                "log_level": 0,
                **client,
                "group.id": "unused",  # required by librdkafka; nothing is committed
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
            }
        )
        if ranges is not None:
            self.ranges = [dataclasses.replace(one, read=0) for one in ranges]
            return
        try:
            self.ranges = [self._range(partition, from_ms, to_ms) for partition in sorted(self._partitions())]
        except KafkaException as failure:
            self._consumer.close()
            raise HistoryError(self._cannot(failure.args[0])) from None
        except HistoryError:
            self._consumer.close()
            raise

    @property
    def total(self) -> int:
        """Offsets in all ranges together."""
        return sum(max(one.end - one.first, 0) for one in self.ranges)

    def remarks(self) -> list[str]:
        """What a reader should know: gaps of retention, offsets without a record, partitions without any."""
        found = []
        empty = [one.partition for one in self.ranges if one.end <= one.first]
        if empty:
            found.append(f"no records in this range in partitions {', '.join(map(str, empty))}")
        for one in self.ranges:
            if one.wanted < one.first:
                found.append(
                    f"partition {one.partition}: {one.first - one.wanted} records are gone, retention has "
                    "deleted them"
                )
            if one.end > one.first and one.read < one.end - one.first:
                found.append(
                    f"partition {one.partition}: {one.end - one.first - one.read} offsets without a record "
                    "(transactions or compaction)"
                )
        return found

    def read(self) -> Iterator[Record | int]:
        """Records; and the number of a partition once its last one was given.

        Raises
        ------
        HistoryError
            The broker does not go on giving records, or they were deleted while being read.
        """
        due = {one.partition: one for one in self.ranges if one.end > one.first}
        yield from (one.partition for one in self.ranges if one.end <= one.first)
        waiting: dict[int, deque[Record]] = {partition: deque() for partition in due}
        newest = dict.fromkeys(due, -(1 << 62))
        complete: set[int] = set()  # everything was fetched, some may wait
        paused: set[int] = set()
        self._consumer.assign([TopicPartition(self._topic, one.partition, one.first) for one in due.values()])
        deadline = time.monotonic() + self._timeout_s
        while due:
            behind = min(due, key=lambda partition: (newest[partition], partition))
            if not waiting[behind] and behind not in complete:
                for message in self._consumer.consume(_FETCHED, _TURN_S):
                    partition = message.partition()
                    if self._ended(message, due.get(partition)):
                        complete.add(partition)
                    elif message.error() is None and partition in due and partition not in complete:
                        if message.offset() < due[partition].end:
                            waiting[partition].append(self._record(message))
                            due[partition].read += 1
                        if message.offset() + 1 >= due[partition].end:
                            complete.add(partition)
                    deadline = time.monotonic() + self._timeout_s
                self._balance(waiting, complete, paused)
                if time.monotonic() > deadline:
                    raise HistoryError(
                        f"{self._topic}[{behind}]: no record for {self._timeout_s:.0f} s although offsets up "
                        f"to {due[behind].end - 1} are due; is the cluster well? Alerts up to here stand"
                    )
                continue
            queue = waiting[behind]
            while queue:
                record = queue.popleft()
                newest[behind] = max(newest[behind], record.timestamp_ms)
                yield record
                if queue and newest[behind] > min(newest.values()):
                    break
            if not queue and behind in complete:
                del due[behind], waiting[behind], newest[behind]
                yield behind

    def close(self) -> None:
        """Let go of the broker."""
        self._consumer.close()

    def _partitions(self) -> list[int]:
        found = self._consumer.list_topics(self._topic, _REACH_S).topics[self._topic]
        if found.error is not None:
            raise HistoryError(self._cannot(found.error))
        return list(found.partitions)

    def _cannot(self, error: KafkaError) -> str:
        fix = {
            KafkaError.UNKNOWN_TOPIC_OR_PART: "check its name with `topics check`",
            KafkaError.TOPIC_AUTHORIZATION_FAILED: "grant Read and Describe on it to this user",
            KafkaError._TRANSPORT: "check kafka.bootstrap_servers",
            KafkaError._TIMED_OUT: "check kafka.bootstrap_servers",
        }.get(error.code(), "see the broker's log")
        return f"topic {self._topic!r} cannot be read: {error.str()}; {fix}"

    def _range(self, partition: int, from_ms: int | None, to_ms: int | None) -> Range:
        low, high = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), _REACH_S)
        first = self._offset_at(partition, from_ms, high) if from_ms is not None else low
        end = self._offset_at(partition, to_ms, high) if to_ms is not None else high
        # With a start in time nobody can say what was there before retention; without one, all was wanted.
        return Range(partition, max(first, low), min(end, high), 0 if from_ms is None else first)

    def _offset_at(self, partition: int, at_ms: int, high: int) -> int:
        found = self._consumer.offsets_for_times([TopicPartition(self._topic, partition, at_ms)], _REACH_S)[0]
        if found.error is not None:
            raise HistoryError(self._cannot(found.error))
        return high if found.offset in (OFFSET_END, -1) else int(found.offset)

    def _ended(self, message: Message, of: Range | None) -> bool:
        """Whether a message is word of an end; raises for other errors that will not pass."""
        error = message.error()
        if error is None or of is None:
            return False
        if error.code() == KafkaError._PARTITION_EOF:
            # Transaction markers at the end have offsets, and never come.
            return True
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise HistoryError(
                f"{self._topic}[{of.partition}]: retention deleted records before they could be read; "
                "start later with --from"
            )
        if not error.retriable() and error.fatal():
            raise HistoryError(self._cannot(error))
        return False

    def _balance(self, waiting: Mapping[int, deque[Record]], complete: set[int], paused: set[int]) -> None:
        for partition, queue in waiting.items():
            place = [TopicPartition(self._topic, partition)]
            full = len(queue) >= _MOST_WAITING or partition in complete
            if full and partition not in paused:
                self._consumer.pause(place)
                paused.add(partition)
            elif not full and partition in paused and len(queue) < _MOST_WAITING // 2:
                self._consumer.resume(place)
                paused.discard(partition)

    def _record(self, message: Message) -> Record:
        kind, timestamp_ms = message.timestamp()
        appended_ms = timestamp_ms if kind and 0 < timestamp_ms <= self._now_ms else self._now_ms
        return Record(message.partition(), message.offset(), appended_ms, message.value())
