"""The control topic: writes decisions to it, and follows what is decided."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from detectors.control import SILENCING, Control, Register
from detectors.errors import ConfigError
from streams import topics
from streams.control import ControlError, decode_control
from streams.metrics import Metrics
from streams.settings import Settings

_log = logging.getLogger(__name__)

_WRITE_S = 30.0
_REACH_S = 10.0
_TURN_S = 0.5
# A full register drops what ended longer ago. The bus is hardly ever read so late, and what is applied from
# then would merely raise an alert that had been silenced.
_KEPT_MS = 30 * 86_400_000


def send_control(settings: Settings, records: Sequence[Control]) -> str:
    """Write records to the control topic; returns its name when the broker has them.

    The topic is compacted, so the key says all that a record is about: a later one about the same thing
    replaces it, and nothing else does.

    Raises
    ------
    BrokerUnreachable
        No broker answers.
    ControlError
        There is no such topic, or the broker did not take them.
    """
    topic = settings.topics.control
    if topic not in topics.reach(settings).topics:
        raise ControlError(
            f"topic {topic!r} does not exist, or this user may not see it; "
            "make it with `extraction-detector topics create`, or give --control FILE"
        )
    failures: list[KafkaError] = []
    taken = 0

    def delivered(error: KafkaError | None, _message: Message) -> None:
        nonlocal taken
        if error is None:
            taken += 1
        else:
            failures.append(error)

    producer = Producer(
        {
            **settings.kafka.client(),
            "enable.idempotence": True,
            "message.timeout.ms": int(_WRITE_S * 1000),
            "partitioner": "murmur2_random",  # as Java clients do, so that theirs and ours meet by key
        }
    )
    for record in records:
        producer.produce(topic, value=record.encode(), key=record.key.encode(), on_delivery=delivered)
    producer.flush(_WRITE_S + 5)
    if taken < len(records):
        why = failures[0].str() if failures else "it does not answer"
        raise ControlError(
            f"topic {topic!r}: the broker took {taken} of {len(records)} records: {why}; try again, "
            "repeats change nothing"
        )
    return topic


class Following:
    """Applies what is on the control topic to a register, first all there is, then whatever comes.

    Of a record that cannot be used, a line in the log and a counter tell; it changes nothing. Labels and bans
    are counted only: they silence nothing, so they must not take room from what does.

    Parameters
    ----------
    client : mapping
        librdkafka settings that reach the cluster.
    topic : str
        The control topic.
    register : Register
        Changed by this alone; others may ask it.
    metrics : Metrics
        Where records are counted.
    timeout_s : float
        Longest pause without a record before `load` gives up. Seconds.
    """

    def __init__(
        self,
        client: Mapping[str, Any],
        *,
        topic: str,
        register: Register,
        metrics: Metrics,
        timeout_s: float = 60.0,
    ) -> None:
        self._topic = topic
        self._register = register
        self._metrics = metrics
        self._timeout_s = timeout_s
        self._consumer = Consumer(
            {
                **client,
                "group.id": "unused",  # required by librdkafka; nothing is committed
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
            }
        )

    def load(self, stop: threading.Event) -> None:
        """Read the topic to its end; blocks.

        Parameters
        ----------
        stop : threading.Event
            Set it to give up; what was read until then is applied.

        Raises
        ------
        ControlError
            The topic cannot be read.
        """
        started = time.monotonic()
        unread = self._assign()
        deadline = started + self._timeout_s
        while unread and not stop.is_set():
            for message in self._consumer.consume(1000, _TURN_S):
                error = message.error()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:
                    unread.discard(message.partition())
                    continue
                self._take(message)
                if error is None:
                    deadline = time.monotonic() + self._timeout_s
            if unread and time.monotonic() > deadline:
                raise ControlError(f"{self._topic}: nothing could be read for {self._timeout_s:.0f} s")
        _log.info(
            "%s: %d decisions, read in %.1f s", self._topic, len(self._register), time.monotonic() - started
        )

    def follow(self, stop: threading.Event, beat: Callable[[], None] = lambda: None) -> None:
        """Apply what comes until `stop` is set; calls `beat` each time round, at least once a second."""
        while not stop.is_set():
            for message in self._consumer.consume(1000, _TURN_S):
                self._take(message)
            beat()

    def close(self) -> None:
        """Let go of the broker."""
        self._consumer.close()

    def _assign(self) -> set[int]:
        try:
            found = self._consumer.list_topics(self._topic, _REACH_S).topics[self._topic]
        except KafkaException as failure:
            raise ControlError(f"{self._topic}: cannot be read: {failure.args[0].str()}") from None
        if found.error is not None:
            raise ControlError(f"{self._topic}: cannot be read: {found.error.str()}")
        self._consumer.assign([TopicPartition(self._topic, partition, 0) for partition in found.partitions])
        return set(found.partitions)

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is not None:
            if error.code() != KafkaError._PARTITION_EOF:
                _log.warning("%s: %s", self._topic, error.str())
            return
        try:
            kind = self._apply(message.key(), message.value())
        except ConfigError as refusal:
            kind = "refused"
            _log.error("%s[%d]@%d: %s", self._topic, message.partition(), message.offset(), refusal)
        self._metrics.control_records.labels(kind=kind).inc()

    def _apply(self, key: bytes | None, value: bytes | None) -> str:
        """Apply one message; returns the kind it counts as."""
        if value is None:
            self._register.forget((key or b"").decode("utf-8", "replace"))
            return "withdrawn"
        record = decode_control(value)
        if key != record.key.encode():
            # Under another key it would replace, or be replaced by, what is about something else.
            raise ConfigError(
                f"control record: its key must be {record.key.encode()!r:.200}, not {key!r:.200}"
            )
        if record.kind in SILENCING:
            try:
                self._register.apply(record)
            except ConfigError:
                if not self._register.forget_before(int(time.time() * 1000) - _KEPT_MS):
                    raise
                self._register.apply(record)
        return record.kind
