"""Alerts are keyed by their subject, and are done when the broker says so, not before."""

import asyncio

import pytest
from confluent_kafka import KafkaError

from streams import alerting
from streams.alerting import AlertProducer
from streams.codecs import decode_alert
from tests.streams.stub_engine import alert_of


class Client:
    """Stands in for the producer of the client; tests say when something is delivered."""

    def __init__(self, config):
        self.config = config
        self.produced = []
        self.flushed = False
        self.full = False

    def poll(self, _seconds):
        return 0

    def produce(self, topic, *, value, key, on_delivery):
        if self.full:
            raise BufferError("queue full")
        self.produced.append((topic, key, value, on_delivery))

    def flush(self, _seconds):
        self.flushed = True
        return 0


@pytest.fixture
def producer(monkeypatch):
    monkeypatch.setattr(alerting, "Producer", Client)
    made = AlertProducer({"bootstrap.servers": "b:9092"}, topic="llm.alerts")
    yield made
    made.close()


ALERT = alert_of("größe", ["e1", "e2"], count=2)


def test_sent_as_they_are_decoded_and_keyed_by_subject(producer):
    async def run():
        producer.send(ALERT)

    asyncio.run(run())
    ((topic, key, value, _),) = producer._producer.produced
    assert (topic, key) == ("llm.alerts", "größe".encode())
    assert decode_alert(value) == ALERT


def test_done_when_delivered_also_from_another_thread(producer):
    async def run():
        done = producer.send(ALERT)
        await asyncio.sleep(0)
        assert not done.done()
        delivered = producer._producer.produced[0][3]
        await asyncio.to_thread(delivered, None, None)
        return await asyncio.wait_for(done, 10)

    assert asyncio.run(run()) is None


def test_what_is_not_delivered_fails_with_the_clients_reason(producer):
    async def run():
        done = producer.send(ALERT)
        error = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
        producer._producer.produced[0][3](error, None)
        with pytest.raises(RuntimeError, match=r"alert could not be delivered: .*authorization"):
            await asyncio.wait_for(done, 10)

    asyncio.run(run())


def test_delivery_of_what_nobody_waits_for_any_more_is_no_error(producer):
    complaints = []

    async def run():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        done = producer.send(ALERT)
        done.cancel()
        producer._producer.produced[0][3](None, None)
        await asyncio.sleep(0)

    asyncio.run(run())
    assert complaints == []


def test_a_full_queue_is_said(producer):
    producer._producer.full = True

    async def run():
        producer.send(ALERT)

    with pytest.raises(BufferError):
        asyncio.run(run())


def test_the_client_is_idempotent_and_does_not_give_up(producer):
    config = producer._producer.config
    assert config["bootstrap.servers"] == "b:9092"
    assert config["enable.idempotence"] is True
    assert config["message.timeout.ms"] == 0


def test_close_flushes_and_ends_the_thread(producer):
    producer.close()
    assert producer._producer.flushed
    assert not producer._thread.is_alive()
