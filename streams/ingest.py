"""Ingest: request bus to observations. Stateless; source offsets are committed only behind delivered rows.

Work is divided into epochs: everything read between two flushes. An epoch remembers the source
positions at its end and how many of its messages are still undelivered; positions are committed in
epoch order, once nothing of the epoch or of an earlier one is outstanding. The newest event time of
a source partition travels in the commit's metadata, so that whoever continues the partition gives
its events the same order.

Any delivery error ends the worker: detect drops repeats by high-water mark, so rows of a source
partition must arrive without holes.
"""

import dataclasses
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from streams import deadletter, sightings, topics
from streams.batches import Progress
from streams.build import build_intake
from streams.codecs import EventError
from streams.errors import StreamsError
from streams.health import Health
from streams.intake import Record
from streams.metrics import Metrics
from streams.packing import Packer
from streams.settings import Settings

_log = logging.getLogger(__name__)

_COMMIT_EVERY_S = 1.0
_PROGRESS_EVERY_S = 0.25  # for observations partitions that got no rows
_IDLE_PROGRESS_EVERY_S = 5.0
_REVOKE_WAIT_S = 10.0
_UNKNOWN_LOW_MS = -(1 << 62)


class DeliveryError(StreamsError):
    """A message could not be delivered; the worker must end, and continue from the last commit."""


@dataclasses.dataclass(slots=True)
class _Epoch:
    """What was read between two flushes."""

    positions: dict[int, tuple[int, int | None]] = dataclasses.field(default_factory=dict)
    outstanding: int = 0


class Ingest:
    """One ingest worker, to be run in a thread of its own.

    Parameters
    ----------
    settings : Settings
        Topics, limits and how to reach the cluster.
    key : bytes
        Secret that keys every hash.
    metrics, health
        Where to report.
    """

    def __init__(self, settings: Settings, key: bytes, metrics: Metrics, health: Health) -> None:
        self._settings = settings
        self._metrics = metrics
        self._health = health
        self._intake = build_intake(settings, key)
        self._breaker = deadletter.Breaker(
            window=settings.ingest.dead_letter_window, share=settings.ingest.dead_letter_share
        )
        self._epochs: deque[_Epoch] = deque([_Epoch()])
        self._closed_at: dict[int, tuple[int, int | None]] = {}
        self._failure: Exception | None = None
        self._next_offset: dict[int, int] = {}
        self._committable: dict[int, tuple[int, int | None]] = {}
        self._idle_since: dict[int, float] = {}
        self._commit_at = self._progress_at = self._idle_progress_at = 0.0
        self._flush_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Read until `stop` is set; then deliver and commit what was read.

        Raises
        ------
        DeliveryError, BreakerOpenError
            The worker must end; what was read since the last commit will be read again.
        """
        settings = self._settings
        self._producer = Producer(
            {
                **settings.kafka.client(),
                "enable.idempotence": True,
                "message.timeout.ms": 0,  # a timed-out message would be a hole
                "compression.type": "lz4",
                "linger.ms": 0,  # rows are already collected here
                "message.max.bytes": topics.largest_message_bytes(settings),
                "queue.buffering.max.messages": 100_000,
                "queue.buffering.max.kbytes": 262_144,
            }
        )
        self._consumer = Consumer(
            {
                **settings.kafka.client(),
                "group.id": f"{settings.app_id}-ingest",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "session.timeout.ms": int(settings.session_timeout_s * 1000),
                "heartbeat.interval.ms": int(settings.heartbeat_s * 1000),
                "partition.assignment.strategy": "range,roundrobin",
                "error_cb": self._on_client_error,
            }
        )
        topic = settings.topics.requests
        source_partitions = len(self._consumer.list_topics(topic, 10).topics[topic].partitions) or 1

        def packer(partition_of: Callable[[str, int], int]) -> Packer:
            return Packer(
                partitions=settings.topics.partitions,
                partition_of=partition_of,
                rows_per_message=settings.ingest.rows_per_message,
                observer=self._intake.fingerprint,
                source=topic,
                source_partitions=source_partitions,
            )

        self._packers = {settings.topics.observations: packer(topics.partition_of)}
        self._links = settings.campaigns.links
        if self._links:
            self._packers[settings.topics.sightings] = packer(sightings.partition_of)
        self._consumer.subscribe(
            [topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        try:
            while not stop.is_set():
                self._turn()
            self._drain(_REVOKE_WAIT_S)
            self._commit(wait=True)
        finally:
            self._consumer.close()

    # -- one turn of the loop --------------------------------------------------------------------

    def _turn(self) -> None:
        linger_s = self._settings.ingest.linger_ms / 1000
        messages = self._consumer.consume(self._settings.ingest.fetch, linger_s / 2)
        now = time.monotonic()
        if messages:
            self._read(messages, now)
        enough = self._settings.ingest.rows_per_message * self._settings.topics.partitions
        full = any(packer.rows >= enough for packer in self._packers.values())
        if full or now - self._flush_at >= linger_s:
            self._flush(now)
        self._producer.poll(0)
        self._raise_failure()
        self._collect()
        if now - self._commit_at >= _COMMIT_EVERY_S:
            self._commit_at = now
            self._commit(wait=False)
            self._report_lag()
        self._health.beat("ingest")

    def _read(self, messages: list[Message], now: float) -> None:
        started = time.perf_counter()
        latest_ms = int(time.time() * 1000)  # a record's own time may be its producer's mistake
        records: list[Record] = []
        sources: dict[tuple[int, int], Message] = {}
        for message in messages:
            error = message.error()
            partition = message.partition()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    self._idle_since.setdefault(partition, now)
                else:
                    _log.warning("reading %s: %s", self._settings.topics.requests, error.str())
                continue
            offset = message.offset()
            kind, timestamp_ms = message.timestamp()
            appended_ms = timestamp_ms if kind and 0 < timestamp_ms <= latest_ms else latest_ms
            records.append(Record(partition, offset, appended_ms, message.value()))
            sources[partition, offset] = message
            self._idle_since.pop(partition, None)
            self._next_offset[partition] = offset + 1
        if not records:
            return
        taken = self._intake.take(records)
        self._packers[self._settings.topics.observations].add(taken)
        if self._links:
            self._packers[self._settings.topics.sightings].add(sightings.sightings_of(taken, self._links))
        reason = ""
        for record, refusal in taken.refused:
            self._metrics.dead_letters.labels(reason=refusal.reason).inc()
            reason = f"{refusal.reason}: {refusal.detail}"
            self._bury(sources[record.partition, record.offset], refusal)
        self._metrics.events_read.inc(len(records))
        self._metrics.ingest_seconds.observe(time.perf_counter() - started)
        self._metrics.last_record.labels(stage="ingest").set(records[-1].timestamp_ms / 1000)
        self._breaker.record(len(taken.refused), len(taken.rows), reason)

    def _bury(self, source: Message, refusal: EventError) -> None:
        """Send a record to the dead letters as it came; if it fits no message, its position alone."""
        value = source.value()
        record = {
            "value": None if value is None or len(value) > self._settings.ingest.max_event_bytes else value,
            "key": source.key(),
            "headers": deadletter.headers(source, refusal),
        }
        try:
            self._produce(self._settings.topics.deadletter, **record)
        except KafkaException as failure:
            if failure.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                raise
            self._epochs[-1].outstanding -= 1
            self._produce(self._settings.topics.deadletter, **{**record, "value": None})

    def _flush(self, now: float) -> None:
        """Send what waits, with the progress of the sources, and close the epoch."""
        self._flush_at = now
        also_empty = now - self._progress_at >= _PROGRESS_EVERY_S and self._worth_telling(now)
        if also_empty:
            self._progress_at = now
        waiting = {topic: packer for topic, packer in self._packers.items() if packer.rows or also_empty}
        progress = self._progress(now) if waiting else []
        sent_ms = int(time.time() * 1000)
        for topic, packer in waiting.items():
            if topic == self._settings.topics.observations:
                self._metrics.observations_sent.inc(packer.rows)
            for partition, value in packer.flush(progress, also_empty, sent_ms):
                self._produce(topic, value=value, partition=partition)
        positions = {
            partition: (offset, self._intake.newest_ms(partition))
            for partition, offset in self._next_offset.items()
        }
        if self._epochs[-1].outstanding or positions != self._closed_at:
            self._epochs[-1].positions = self._closed_at = positions
            self._epochs.append(_Epoch())

    def _worth_telling(self, now: float) -> bool:
        """Whether partitions without rows should hear of progress: something moves, or it is time."""
        settle_s = 2 * self._settings.ordering.idle_ms / 1000 + _PROGRESS_EVERY_S
        moving = any(now - self._idle_since.get(p, now) <= settle_s for p in self._next_offset)
        waking = any(now - since <= settle_s for since in self._idle_since.values())
        if moving or waking or now - self._idle_progress_at >= _IDLE_PROGRESS_EVERY_S:
            self._idle_progress_at = now
            return bool(self._next_offset or self._idle_since)
        return False

    def _progress(self, now: float) -> list[Progress]:
        for partition in list(self._idle_since):
            # Records that were fetched but not yet handed over are something to read.
            if self._high(partition) > self._next_offset.get(partition, 0):
                del self._idle_since[partition]
        return [
            Progress(
                partition,
                self._next_offset.get(partition, 0),
                _UNKNOWN_LOW_MS if (low := self._intake.low_ms(partition)) is None else low,
                int(1000 * (now - self._idle_since.get(partition, now))),
            )
            for partition in sorted(self._next_offset.keys() | self._idle_since.keys())
        ]

    # -- delivery --------------------------------------------------------------------------------

    def _produce(self, topic: str, **record: Any) -> None:
        epoch = self._epochs[-1]
        epoch.outstanding += 1

        def delivered(error: KafkaError | None, _message: Message) -> None:
            epoch.outstanding -= 1
            if error is not None and self._failure is None:
                self._failure = DeliveryError(f"{topic}: {error.str()}")

        while True:
            try:
                self._producer.produce(topic, on_delivery=delivered, **record)
            except BufferError:
                # The queue is full: reading stops here until the broker has taken some of it.
                self._producer.poll(0.1)
                self._raise_failure()
                self._health.beat("ingest")
            else:
                return

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _collect(self) -> None:
        """Take the positions of delivered epochs, in order."""
        while len(self._epochs) > 1 and not self._epochs[0].outstanding:
            self._committable.update(self._epochs.popleft().positions)

    def _commit(self, *, wait: bool) -> None:
        if not self._committable:
            return
        topic = self._settings.topics.requests
        offsets = [
            TopicPartition(topic, partition, offset, "" if newest is None else str(newest))
            for partition, (offset, newest) in self._committable.items()
        ]
        self._committable.clear()
        try:
            self._consumer.commit(offsets=offsets, asynchronous=not wait)
        except KafkaException as failure:
            # Not committed means read again, and repeats change nothing; so this is worth a line, no more.
            _log.warning("source offsets not committed: %s", failure.args[0].str())

    def _drain(self, wait_s: float) -> None:
        """Send and deliver everything read so far, or as much as fits into `wait_s`."""
        self._flush(time.monotonic())
        deadline = time.monotonic() + wait_s
        while any(epoch.outstanding for epoch in self._epochs) and time.monotonic() < deadline:
            self._producer.poll(0.05)
            self._raise_failure()
        self._collect()

    # -- partitions come and go ------------------------------------------------------------------

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for committed in consumer.committed(partitions, timeout=30):
            newest = committed.metadata
            self._intake.resume(committed.partition, int(newest) if newest and newest.isdigit() else None)
            if committed.offset >= 0:
                self._next_offset[committed.partition] = committed.offset
        self._health.ready("ingest")
        self._metrics.assigned.labels(stage="ingest").set(len(consumer.assignment()) or len(partitions))

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._drain(_REVOKE_WAIT_S)
        self._commit(wait=True)
        self._forget(partitions)

    def _on_lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # Another worker may have them already; its repeats of our rows are dropped by detect.
        self._forget(partitions)

    def _forget(self, partitions: list[TopicPartition]) -> None:
        for lost in partitions:
            self._next_offset.pop(lost.partition, None)
            self._idle_since.pop(lost.partition, None)
            self._committable.pop(lost.partition, None)
            self._intake.resume(lost.partition, None)
        self._closed_at = {}
        gone = {lost.partition for lost in partitions}
        for epoch in self._epochs:
            epoch.positions = {p: at for p, at in epoch.positions.items() if p not in gone}

    def _on_client_error(self, error: KafkaError) -> None:
        if error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT):
            # Nothing to read because nobody answers is not the same as nothing to read.
            now = time.monotonic()
            self._idle_since = dict.fromkeys(self._idle_since, now)
        _log.warning("kafka client: %s", error.str())

    def _high(self, partition: int) -> int:
        """Offset after the last record of a source partition, as far as the client has heard; -1 unknown."""
        at = TopicPartition(self._settings.topics.requests, partition)
        return int(self._consumer.get_watermark_offsets(at, cached=True)[1])

    def _report_lag(self) -> None:
        lags = []
        for partition, offset in self._next_offset.items():
            if (high := self._high(partition)) >= 0:
                lags.append(max(0, high - offset))
        self._metrics.set_lag("ingest", lags)
