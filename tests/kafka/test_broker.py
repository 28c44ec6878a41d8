"""The broker the tests run on is a real one: durable, transactional, compacting, and it can be frozen."""

import time

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from tests.kafka.broker import wait_until

pytestmark = pytest.mark.kafka

SECONDS = 60.0


def producer(broker, **more):
    return Producer({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0, "linger.ms": 0} | more)


def send(sender, topic, *values, key=None):
    failed = []
    for value in values:
        sender.produce(
            topic, value, key=key, partition=0, on_delivery=lambda error, _: error and failed.append(error)
        )
    assert sender.flush(SECONDS) == 0
    assert failed == []


def read_all(broker, topic, isolation="read_committed"):
    """Key and value of every record of partition 0 up to its present end."""
    consumer = Consumer(
        {
            "bootstrap.servers": broker.bootstrap_servers,
            "group.id": "unused",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": isolation,
            "log_level": 0,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    found = []
    deadline = time.monotonic() + SECONDS
    try:
        while time.monotonic() < deadline:
            message = consumer.poll(1.0)
            if message is None:
                continue
            if message.error() is None:
                found.append((message.key(), message.value()))
            elif message.error().code() == KafkaError._PARTITION_EOF:
                return found
            elif not message.error().retriable():
                raise KafkaException(message.error())
    finally:
        consumer.close()
    raise TimeoutError(f"topic {topic}: end not reached in {SECONDS:g} s")


def values(broker, topic, isolation="read_committed"):
    return [value for _, value in read_all(broker, topic, isolation)]


def test_records_come_back_in_order(kafka, unique):
    kafka.create_topic(unique)
    send(producer(kafka), unique, b"1", b"2", b"3")
    assert values(kafka, unique) == [b"1", b"2", b"3"]


def test_topics_are_not_created_by_use(kafka, unique):
    if not kafka.configured:
        pytest.skip(f"the broker of {kafka.how} has settings of its own")
    assert kafka.admin().list_topics(unique, timeout=10).topics[unique].error is not None
    assert unique not in kafka.admin().list_topics(timeout=10).topics


def test_topic_has_the_partitions_asked_for(kafka, unique):
    kafka.create_topic(unique, 3)
    assert sorted(kafka.admin().list_topics(unique, timeout=10).topics[unique].partitions) == [0, 1, 2]


def test_read_committed_hides_aborted_and_open_transactions(kafka, unique):
    kafka.create_topic(unique)
    sender = producer(kafka, **{"transactional.id": unique})
    sender.init_transactions(SECONDS)
    for value, end in ((b"kept", sender.commit_transaction), (b"dropped", sender.abort_transaction)):
        sender.begin_transaction()
        send(sender, unique, value)
        end(SECONDS)
    sender.begin_transaction()
    send(sender, unique, b"open")
    assert values(kafka, unique) == [b"kept"]
    assert values(kafka, unique, "read_uncommitted") == [b"kept", b"dropped", b"open"]
    sender.abort_transaction(SECONDS)


def test_second_producer_of_a_transactional_id_fences_the_first(kafka, unique):
    kafka.create_topic(unique)
    first = producer(kafka, **{"transactional.id": unique})
    first.init_transactions(SECONDS)
    first.begin_transaction()
    send(first, unique, b"from the first")
    second = producer(kafka, **{"transactional.id": unique})
    second.init_transactions(SECONDS)
    with pytest.raises(KafkaException) as caught:
        first.commit_transaction(SECONDS)
    assert caught.value.args[0].fatal()
    assert caught.value.args[0].code() in {KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH}
    second.begin_transaction()
    send(second, unique, b"from the second")
    second.commit_transaction(SECONDS)
    assert values(kafka, unique) == [b"from the second"]


def test_compaction_removes_replaced_values(kafka, unique):
    kafka.create_topic(
        unique,
        config={
            "cleanup.policy": "compact",
            "segment.ms": "100",
            "min.cleanable.dirty.ratio": "0.01",
            "min.compaction.lag.ms": "0",
        },
    )
    sender = producer(kafka)
    send(sender, unique, b"old", key=b"account")
    send(sender, unique, b"new", key=b"account")

    def compacted():
        # Only closed segments are compacted, and only a further record closes the last one.
        send(sender, unique, b"", key=b"tick")
        return [value for key, value in read_all(kafka, unique) if key == b"account"] == [b"new"]

    wait_until(compacted, "the replaced value is gone", SECONDS)


@pytest.mark.parametrize("own_kafka", [{"message.max.bytes": "1000"}], indirect=True)
def test_own_broker_takes_server_properties(own_kafka, unique):
    own_kafka.create_topic(unique)
    sender = producer(own_kafka)
    send(sender, unique, b"short")
    refused = []
    sender.produce(
        unique, b"x" * 2000, partition=0, on_delivery=lambda error, _: refused.append(error.code())
    )
    assert sender.flush(SECONDS) == 0
    assert refused == [KafkaError.MSG_SIZE_TOO_LARGE]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_restart_keeps_address_and_data(own_kafka, unique, end):
    own_kafka.create_topic(unique)
    send(producer(own_kafka), unique, b"before")
    address = own_kafka.bootstrap_servers
    getattr(own_kafka, end)()
    assert own_kafka.pid is None
    with pytest.raises(RuntimeError, match="start"):
        own_kafka.pause()
    own_kafka.start()
    send(producer(own_kafka), unique, b"after")
    assert own_kafka.bootstrap_servers == address
    assert values(own_kafka, unique) == [b"before", b"after"]


def test_paused_broker_answers_only_when_resumed(own_kafka, unique):
    own_kafka.create_topic(unique)
    sender = producer(own_kafka)
    send(sender, unique, b"before")
    own_kafka.pause()
    delivered = []
    sender.produce(unique, b"during", partition=0, on_delivery=lambda error, _: delivered.append(error))
    assert sender.flush(1.0) == 1
    assert delivered == []
    own_kafka.resume()
    assert sender.flush(SECONDS) == 0
    assert delivered == [None]
    assert values(own_kafka, unique) == [b"before", b"during"]
