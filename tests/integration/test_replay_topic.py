"""`replay kafka://TOPIC` says what the live workers said, from a topic's past, and does not disturb them."""

import os
import subprocess
import sys

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.codecs import encode_alert
from streams.history import HistoryError, TopicHistory
from streams.replay import in_order
from tests.integration.traffic import make_events

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


def replayed(deployment, *arguments):
    """Output, messages and exit code of `replay`."""
    done = subprocess.run(
        [sys.executable, "-c", "from streams.cli import main; main()", "replay", *arguments],
        env={**os.environ, **deployment.environment},
        capture_output=True,
        check=False,
        timeout=120,
    )
    return done.stdout, done.stderr.decode(), done.returncode


def test_replay_of_the_topic_says_what_live_workers_said(deploy):
    deployment = deploy()
    worker = deployment.start()
    deployment.send([value for _, value in make_events(21)])
    deployment.await_applied(deployment.sent, unless=lambda: worker.poll() is not None)
    groups = {
        group.group_id
        for group in AdminClient(deployment.settings.kafka.client()).list_consumer_groups().result().valid
    }
    alerts, said, code = replayed(deployment, f"kafka://{deployment.settings.topics.requests}")
    assert code == 0, said
    live = in_order(deployment.alerts())
    assert live
    assert alerts == b"".join(encode_alert(alert) + b"\n" for alert in live)
    assert f"{deployment.sent} records read, 0 refused" in said
    assert worker.poll() is None, "the live worker went on"
    after = AdminClient(deployment.settings.kafka.client()).list_consumer_groups().result().valid
    assert {group.group_id for group in after} == groups, "no group was joined or made"

    who = live[0].subject.id
    alerts, said, code = replayed(
        deployment, f"kafka://{deployment.settings.topics.requests}", "--account", who
    )
    assert alerts == b"".join(encode_alert(alert) + b"\n" for alert in live if alert.subject.id == who)


@pytest.fixture
def topic(kafka, unique):
    """A topic of three partitions with one record per second from second 1 on, the last partition empty."""
    kafka.create_topic(unique, 3)
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "linger.ms": 0})
    for second in range(1, 101):
        producer.produce(unique, b"%d" % second, partition=second % 2, timestamp=second * 1000)
    assert producer.flush(30) == 0
    return unique


@pytest.fixture
def read(kafka, topic):
    """Reads a range: values, partitions in the order of their ends, and remarks."""

    def read(**span):
        history = TopicHistory({"bootstrap.servers": kafka.bootstrap_servers}, topic, timeout_s=30, **span)
        found = list(history.read())
        history.close()
        values = [int(one.value) for one in found if not isinstance(one, int)]
        return values, [one for one in found if isinstance(one, int)], history

    return read


@pytest.mark.parametrize(
    ("span", "first", "last", "why"),
    [
        ({}, 1, 100, "everything"),
        ({"from_ms": 40_000}, 40, 100, "the start counts"),
        ({"to_ms": 40_000}, 1, 39, "the end does not"),
        ({"from_ms": 10_500, "to_ms": 11_500}, 11, 11, "one record; another partition has none"),
        ({"from_ms": 500_000}, 1, 0, "nothing yet"),
    ],
)
def test_a_range_of_time(read, span, first, last, why):
    values, ended, history = read(**span)
    assert sorted(values) == list(range(first, last + 1)), why
    assert sorted(ended) == [0, 1, 2]
    assert history.total == len(values)
    assert any("no records in this range" in remark for remark in history.remarks())


def test_partitions_are_read_together_by_time(read):
    values, _, _ = read()
    behind = [max(values[:at], default=0) - value for at, value in enumerate(values)]
    assert max(behind) <= 2, "no partition runs ahead of the other"


def test_what_retention_has_deleted_is_said(kafka, topic, read):
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    for future in admin.delete_records([TopicPartition(topic, 0, 20)]).values():
        future.result()
    values, _, history = read()
    assert len(values) == 80
    assert "partition 0: 20 records are gone, retention has deleted them" in history.remarks()


def test_markers_of_transactions_are_no_records(kafka, topic, read):
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": topic})
    producer.init_transactions(30)
    for value in (b"101", b"102"):
        producer.begin_transaction()
        producer.produce(topic, value, partition=2)
        producer.commit_transaction(30)
    values, ended, history = read()
    assert sorted(values) == list(range(1, 103))
    assert sorted(ended) == [0, 1, 2]
    assert "partition 2: 2 offsets without a record (transactions or compaction)" in history.remarks()


def test_a_topic_that_is_not_there(kafka, unique):
    with pytest.raises(HistoryError, match=f"'{unique}-none' cannot be read: .*check its name"):
        TopicHistory({"bootstrap.servers": kafka.bootstrap_servers}, f"{unique}-none")


def test_no_broker():
    with pytest.raises(HistoryError, match=r"check kafka\.bootstrap_servers"):
        TopicHistory({"bootstrap.servers": "127.0.0.1:1", "socket.timeout.ms": 1000}, "llm.requests")
