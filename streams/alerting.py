"""Sends alerts to their topic and says when the broker has them."""

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from detectors.alerts import Alert
from streams.codecs import encode_alert

_LONGEST_QUEUE = 100_000


class AlertProducer:
    """Idempotent producer of alerts, keyed by subject, with a thread that serves its callbacks.

    Parameters
    ----------
    client : mapping
        librdkafka settings that reach the cluster.
    topic : str
        The alerts topic.
    """

    def __init__(self, client: Mapping[str, Any], *, topic: str) -> None:
        self._topic = topic
        self._producer = Producer(
            {
                **client,
                "enable.idempotence": True,
                "message.timeout.ms": 0,  # an alert waits for the broker as long as it takes
                "partitioner": "murmur2_random",  # as Java clients do, so that others can join by key
                "compression.type": "lz4",
                "linger.ms": 5,
                "queue.buffering.max.messages": _LONGEST_QUEUE,
            }
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="alert-delivery", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._stop.is_set():
            self._producer.poll(0.1)

    def send(self, alert: Alert) -> "asyncio.Future[None]":
        """Queue an alert; the future ends when the broker has it, or fails. Call on the event loop.

        Raises
        ------
        BufferError
            The queue of undelivered alerts is full.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def delivered(error: KafkaError | None, _message: Message) -> None:
            loop.call_soon_threadsafe(_settle, done, error)

        self._producer.produce(
            self._topic, value=encode_alert(alert), key=alert.subject.id.encode(), on_delivery=delivered
        )
        return done

    def close(self) -> None:
        """Stop serving; undelivered alerts are raised again after the next start."""
        self._stop.set()
        self._thread.join(2)
        self._producer.flush(0.2)


def _settle(done: "asyncio.Future[None]", error: KafkaError | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(RuntimeError(f"an alert could not be delivered: {error.str()}"))
