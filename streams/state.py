"""Where the state of a partition is kept: a compacted topic, written in transactions, one writer at a time.

An owner paused past its session may wake with old state in hand and write it over newer state. So
every partition has a transactional producer of its own: a new owner's `init_transactions` fences the
previous one, whose next commit fails instead of overwriting. And account records and the position
record become visible together or not at all.
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from streams.errors import StreamsError

_log = logging.getLogger(__name__)

Record = tuple[str, bytes | None]

_ACCOUNT = b"a:"
_POSITION = b"p:observations"


class FencedError(StreamsError):
    """Another owner has taken over the partition; nothing more may be written by this one."""


class StateUnavailableError(StreamsError):
    """State could not be read or written although it was tried again."""


class PartitionState(Protocol):
    """Saved state of one partition, owned by the caller until `close`."""

    position: bytes | None
    records: dict[str, bytes]

    def commit(self, position: bytes, records: Sequence[Record]) -> None:
        """Save position and records as one unit; blocks until they are durable. None deletes."""

    def close(self) -> None:
        """Let go of the partition."""


class StateStore(Protocol):
    """Keeps the state of partitions."""

    def open(self, partition: int) -> PartitionState:
        """Take over a partition, fencing whoever had it, and load what is saved; blocks."""


class MemoryStateStore:
    """State that lives as long as the process: for replay and for tests that need no broker."""

    def __init__(self) -> None:
        self.saved: dict[int, tuple[bytes | None, dict[str, bytes]]] = {}
        self._owners: dict[int, object] = {}

    def open(self, partition: int) -> "_MemoryPartition":
        """See `StateStore.open`."""
        return _MemoryPartition(self, partition)


class _MemoryPartition:
    def __init__(self, store: MemoryStateStore, partition: int) -> None:
        self._store, self._partition = store, partition
        store._owners[partition] = self
        position, records = store.saved.get(partition, (None, {}))
        self.position, self.records = position, dict(records)

    def commit(self, position: bytes, records: Sequence[Record]) -> None:
        if self._store._owners.get(self._partition) is not self:
            raise FencedError(f"partition {self._partition} has another owner")
        _, kept = self._store.saved.get(self._partition, (None, {}))
        for key, value in records:
            if value is None:
                kept.pop(key, None)
            else:
                kept[key] = value
        self._store.saved[self._partition] = (position, kept)

    def close(self) -> None:
        return


class KafkaStateStore:
    """State in a compacted topic with as many partitions as the observations topic.

    Parameters
    ----------
    client : mapping
        librdkafka settings that reach the cluster.
    topic : str
        The state topic.
    app_id : str
        Transactional ids are `<app_id>-state-<partition>`.
    timeout_s : float
        Longest a single load or commit may take before it counts as failed. Seconds.
    """

    def __init__(
        self, client: Mapping[str, Any], *, topic: str, app_id: str, timeout_s: float = 60.0
    ) -> None:
        self._client = dict(client)
        self._topic = topic
        self._app_id = app_id
        self._timeout_s = timeout_s
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Give up what is being tried again in other threads: the worker ends."""
        self._stopping.set()

    def open(self, partition: int) -> "_KafkaPartition":
        """See `StateStore.open`.

        Raises
        ------
        StateUnavailableError
            The broker did not answer within the time limit.
        """
        producer = Producer(
            {
                **self._client,
                "transactional.id": f"{self._app_id}-state-{partition}",
                "transaction.timeout.ms": 60_000,
                "compression.type": "lz4",
                "linger.ms": 5,
                # A flush is produced in one go, so it must fit the queue; commit() polls when it does not.
                "queue.buffering.max.messages": 200_000,
            }
        )
        deadline = time.monotonic() + self._timeout_s
        _retry(producer.init_transactions, deadline, f"taking over partition {partition}", self._stopping)
        position, records = read_state(
            self._client, self._topic, partition, timeout_s=self._timeout_s, stopping=self._stopping
        )
        return _KafkaPartition(producer, self._topic, partition, position, records, self._timeout_s)


_PERMANENT = (
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
)

_TURN_S = 3.0  # longest a single call may keep its thread

_FENCED = (KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED)


def read_state(
    client: Mapping[str, Any],
    topic: str,
    partition: int,
    *,
    timeout_s: float = 60.0,
    stopping: threading.Event | None = None,
) -> tuple[bytes | None, dict[str, bytes]]:
    """Position and records of a partition as last committed; takes nothing over.

    Parameters
    ----------
    client : mapping
        librdkafka settings that reach the cluster.
    topic : str
        The state topic.
    partition : int
        Which partition.
    timeout_s : float
        Longest pause without a record before it counts as failed. Seconds.
    stopping : threading.Event, optional
        Set it to give up.

    Raises
    ------
    StateUnavailableError
        The topic cannot be read.
    """
    consumer = Consumer(
        {
            **client,
            "group.id": "unused",  # required by librdkafka; nothing is committed
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 20,
        }
    )
    position: bytes | None = None
    records: dict[str, bytes] = {}
    deadline = time.monotonic() + timeout_s
    try:
        consumer.assign([TopicPartition(topic, partition, 0)])
        while True:
            for message in consumer.consume(10_000, 0.5):
                error = message.error()
                if error is not None:
                    if error.code() == KafkaError._PARTITION_EOF:
                        return position, records
                    if error.code() in _PERMANENT:
                        raise StateUnavailableError(f"{topic}[{partition}]: {error.str()}")
                    _log.warning("state load %s[%d]: %s", topic, partition, error.str())
                    continue
                key, value = message.key(), message.value()
                if key == _POSITION:
                    position = value
                elif key is not None and key.startswith(_ACCOUNT):
                    account_id = key[len(_ACCOUNT) :].decode("utf-8", "replace")
                    if value is None:
                        records.pop(account_id, None)
                    else:
                        records[account_id] = value
                deadline = time.monotonic() + timeout_s
            if time.monotonic() > deadline or (stopping is not None and stopping.is_set()):
                raise StateUnavailableError(
                    f"{topic}[{partition}]: nothing could be read for {timeout_s:.0f} s"
                )
    finally:
        consumer.close()


class _KafkaPartition:
    def __init__(
        self,
        producer: Producer,
        topic: str,
        partition: int,
        position: bytes | None,
        records: dict[str, bytes],
        timeout_s: float,
    ) -> None:
        self._producer, self._topic, self._partition = producer, topic, partition
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self.position, self.records = position, records

    def commit(self, position: bytes, records: Sequence[Record]) -> None:
        deadline = time.monotonic() + self._timeout_s
        with self._lock:
            while True:
                try:
                    self._transact(position, records)
                except KafkaException as failure:
                    error = failure.args[0]
                    if error.code() in _FENCED:
                        raise FencedError(f"{self._topic}[{self._partition}]: {error.str()}") from None
                    if error.fatal() or time.monotonic() > deadline:
                        raise StateUnavailableError(
                            f"{self._topic}[{self._partition}]: {error.str()}"
                        ) from None
                    _log.warning(
                        "state of %s[%d] not saved, trying again: %s",
                        self._topic,
                        self._partition,
                        error.str(),
                    )
                    _retry(self._producer.abort_transaction, deadline, "aborting a transaction")
                else:
                    return

    def _transact(self, position: bytes, records: Sequence[Record]) -> None:
        self._producer.begin_transaction()
        for account_id, value in records:
            self._produce(_ACCOUNT + account_id.encode("utf-8", "replace"), value)
        self._produce(_POSITION, position)
        deadline = time.monotonic() + self._timeout_s
        _retry(self._producer.commit_transaction, deadline, "committing a transaction")

    def _produce(self, key: bytes, value: bytes | None) -> None:
        while True:
            try:
                self._producer.produce(self._topic, value=value, key=key, partition=self._partition)
            except BufferError:
                self._producer.poll(0.05)
            else:
                return

    def close(self) -> None:
        # Nothing is pending after commit(); dropping the reference ends the client's threads.
        self._producer.purge()


def _retry(call: Any, deadline: float, what: str, stopping: threading.Event | None = None) -> None:
    """Call `call(seconds_left)` again while the error says that this helps.

    Raises
    ------
    KafkaException
        The error is not retriable; the caller decides.
    StateUnavailableError
        Time ran out.
    """
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise StateUnavailableError(f"{what}: no answer from the broker within the time limit")
        if stopping is not None and stopping.is_set():
            raise StateUnavailableError(f"{what}: given up, the worker is ending")
        try:
            # In short turns, so that a worker that is told to end does not wait for a broker that is gone.
            call(min(left, _TURN_S))
        except KafkaException as failure:
            error = failure.args[0]
            if not error.retriable() or error.fatal():
                raise
            _log.warning("%s: %s; trying again", what, error.str())
            time.sleep(0.1)
        else:
            return
