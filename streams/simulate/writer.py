"""Writes events to a file or a Kafka topic, as fast as it goes or at a steady rate."""

import contextlib
import datetime as dt
import gzip
import io
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import orjson
import zstandard
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streams.errors import BrokerUnreachable, StreamsError

FORMATS = (".jsonl", ".jsonl.gz", ".jsonl.zst")
"""Endings of files that can be written."""

Keying = Literal["none", "account", "random"]

_REACH_S = 10.0
_FLUSH_S = 30.0
_LAGGING_S = 0.002  # shorter waits are not worth a sleep
_BUFFER_BYTES = 1 << 20


class WriteError(StreamsError):
    """Events cannot be written; says where and what to do."""


def write_file(path: Path, events: Iterable[Mapping[str, Any]]) -> int:
    """Write events as JSON Lines, compressed by the file's ending; the same events give the same bytes.

    The file appears under its name when it is complete.

    Parameters
    ----------
    path : Path
        Ends in `.jsonl`, `.jsonl.gz` or `.jsonl.zst`.
    events : iterable of mapping
        What to write.

    Returns
    -------
    int
        How many were written.

    Raises
    ------
    WriteError
        Unknown ending, or the file cannot be written.
    """
    check_ending(path)
    part = path.with_name(f".{path.name}.part")
    try:
        with _opened(part, path.name) as file:
            count = 0
            for event in events:
                file.write(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))
                count += 1
        part.replace(path)
    except OSError as error:
        raise WriteError(f"{path}: cannot be written: {os.strerror(error.errno or 0)}") from None
    finally:
        part.unlink(missing_ok=True)
    return count


def check_ending(path: Path) -> None:
    """Raise `WriteError` unless the file's ending is one of `FORMATS`."""
    if not path.name.endswith(FORMATS) or path.name in FORMATS:
        raise WriteError(f"{path}: unknown ending; give a name that ends in {', '.join(FORMATS)}")


@contextlib.contextmanager
def _opened(path: Path, name: str) -> Iterator[BinaryIO]:
    with path.open("wb") as raw:
        if name.endswith(".gz"):
            # No name and no time in the header: they would differ from run to run.
            packed: Any = gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0)
        elif name.endswith(".zst"):
            packed = zstandard.ZstdCompressor(level=6).stream_writer(raw, closefd=False)
        else:
            yield raw
            return
        with packed, io.BufferedWriter(cast("io.RawIOBase", packed), _BUFFER_BYTES) as buffer:
            yield cast("BinaryIO", buffer)


def at_rate(
    events: Iterable[dict[str, Any]],
    rate: float,
    *,
    stamp: bool,
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[dict[str, Any]]:
    """Events no faster than a rate.

    Parameters
    ----------
    events : iterable of dict
        Events in their order.
    rate : float
        Events per second, > 0.
    stamp : bool
        Give each event the time at which it is passed on, instead of its own. Accounts then ask as
        fast as the stream goes, which no longer resembles people.
    clock, wall, sleep : callable
        Monotonic time, time since the epoch, and waiting; all in seconds.
    """
    begin = clock()
    for number, event in enumerate(events):
        wait = begin + number / rate - clock()
        if wait > _LAGGING_S:
            sleep(wait)
        if stamp:
            event["time"] = _rfc3339(wall())
        yield event


def _rfc3339(seconds: float) -> str:
    stamp = dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="milliseconds")
    return stamp.replace("+00:00", "Z")


class TopicWriter:
    """Sends events to a topic, acknowledged by the broker when `close` returns.

    Parameters
    ----------
    client : mapping
        Settings of a confluent-kafka client; names the servers.
    topic : str
        Where to; it must exist.
    keyed_by : str
        `none`, `account` (the account's id) or `random`; request buses are keyed by anything.
    seed : int
        Of random keys.

    Raises
    ------
    BrokerUnreachable
        No broker answers.
    WriteError
        There is no such topic.
    """

    def __init__(
        self, client: Mapping[str, Any], topic: str, *, keyed_by: Keying = "none", seed: int = 1
    ) -> None:
        self._topic = topic
        self._keyed_by = keyed_by
        self._rng = random.Random(f"{seed}/keys")
        self._failure: KafkaError | None = None
        self._delivered = 0
        servers = str(client.get("bootstrap.servers", ""))
        complaints: list[str] = []
        self._producer = Producer(
            {
                "linger.ms": 20,
                "compression.type": "lz4",
                "enable.idempotence": True,
                # Named before it is asked about, a topic would be made with the broker's defaults.
                "allow.auto.create.topics": False,
                "log_level": 0,
                **client,
                "error_cb": lambda error: complaints.append(error.str()),
            }
        )
        try:
            found = self._producer.list_topics(topic, timeout=_REACH_S).topics[topic]
        except KafkaException as failure:
            self._producer.poll(0)
            raise BrokerUnreachable(servers, complaints[0] if complaints else failure.args[0].str()) from None
        if found.error is not None or not found.partitions:
            reason = "" if found.error is None else f" ({found.error.str()})"
            raise WriteError(
                f"topic {topic!r} at {servers} cannot be written{reason}; "
                "make it with `extraction-detector topics create --requests`, or give another --topic"
            )

    @property
    def delivered(self) -> int:
        """Events acknowledged so far."""
        return self._delivered

    def write(self, event: Mapping[str, Any]) -> None:
        """Send one event; waits while too many are under way.

        Raises
        ------
        WriteError
            An earlier one was refused.
        """
        value = orjson.dumps(event)
        while True:
            try:
                self._producer.produce(
                    self._topic, value, key=self._key(event), on_delivery=self._on_delivery
                )
                break
            except BufferError:
                self._producer.poll(0.1)
                self._check()
        self._producer.poll(0)
        self._check()

    def close(self) -> int:
        """Wait until all were acknowledged.

        Returns
        -------
        int
            How many were.

        Raises
        ------
        WriteError
            One was refused, or the broker does not answer any more.
        """
        before = -1
        # As long as it gets on, it may take its time.
        while self._producer.flush(_FLUSH_S) and self._delivered != before:
            before = self._delivered
        self._check()
        if left := len(self._producer):
            self._producer.purge()
            raise WriteError(
                f"topic {self._topic!r}: the broker did not acknowledge {left} events; try again"
            )
        return self._delivered

    def _key(self, event: Mapping[str, Any]) -> bytes | None:
        if self._keyed_by == "account":
            return str(event["account_id"]).encode()
        return (
            self._rng.getrandbits(64).to_bytes(8, "big").hex().encode()
            if self._keyed_by == "random"
            else None
        )

    def _on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self._delivered += 1
        elif self._failure is None:
            self._failure = error

    def _check(self) -> None:
        if self._failure is not None:
            raise WriteError(
                f"topic {self._topic!r}: an event was refused: {self._failure.str()}; "
                f"{self._delivered} had been written"
            )
