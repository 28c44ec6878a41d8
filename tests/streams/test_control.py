"""Decisions in files and on the control topic: what is written is read, and rubbish does no harm."""

import datetime as dt

import pytest
from confluent_kafka import Consumer, TopicPartition

from detectors.control import Control
from streams.control import ControlError, append_control, read_control
from streams.control_topic import send_control
from streams.embedded import EmbeddedBroker
from streams.replay import SourceError
from streams.settings import load_settings

T0 = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
T0_MS = int(T0.timestamp() * 1000)


def record(account="a", kind="allow", hours=24, alert_kind=None, **more):
    return Control.make(
        {
            "schema": "extraction.control/1",
            "kind": kind,
            "subject": {"type": "account", "id": account},
            "owner": "ada",
            "reason": "a test",
            "time": T0,
            "expires": T0 + dt.timedelta(hours=hours),
            "alert_kind": alert_kind,
            **more,
        }
    )


# -- files -----------------------------------------------------------------------------------------


def test_what_is_appended_is_read(tmp_path):
    path = tmp_path / "control.jsonl"
    append_control(path, [record()])
    append_control(path, [record("b"), record("c", "suppress", alert_kind="high_entropy")])
    made = read_control(path)
    assert len(made) == 3
    said = [made.silences(account, "high_entropy", T0_MS) for account in "abcd"]
    assert said == ["allow", "allow", "suppress", None]


def test_a_last_line_without_an_end_stays_a_line_of_its_own(tmp_path):
    path = tmp_path / "control.jsonl"
    path.write_bytes(record("a").encode())
    append_control(path, [record("b")])
    assert path.read_bytes().splitlines() == [record("a").encode(), record("b").encode()]


@pytest.mark.parametrize(
    ("name", "says"), [("control.jsonl.gz", "end in .jsonl"), ("none/control.jsonl", "No such file")]
)
def test_a_file_that_cannot_be_appended_to_is_named(tmp_path, name, says):
    with pytest.raises(ControlError, match=says):
        append_control(tmp_path / name, [record()])
    assert list(tmp_path.iterdir()) == []


def test_a_line_too_long_is_refused(tmp_path):
    path = tmp_path / "control.jsonl"
    path.write_bytes(record().encode() + b" " * 65_536 + b"\n")
    with pytest.raises(SourceError, match=r"control\.jsonl:1: .*larger than 65,536 bytes"):
        read_control(path)


# -- the topic -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def broker():
    with EmbeddedBroker({"control": 1, "spread": 3}) as started:
        yield started


@pytest.fixture
def settings(broker):
    def make(topic="control", servers=broker.bootstrap_servers):
        return load_settings(None, {"kafka.bootstrap_servers": servers, "topics.control": topic})

    return make


def on_topic(settings):
    consumer = Consumer(
        {
            **settings.kafka.client(),
            "group.id": "t",
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    topic = settings.topics.control
    parts = len(consumer.list_topics(topic, 10).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, number, 0) for number in range(parts)])
    found, ends = [], 0
    while ends < parts:
        for message in consumer.consume(100, 0.5):
            if message.error() is None:
                found.append((message.key().decode(), message.value()))
            else:
                ends += 1
    consumer.close()
    return found


def test_a_record_is_keyed_by_all_it_is_about(settings):
    records = [
        record(),
        record("a", "suppress", alert_kind="high_entropy"),
        record("a", "suppress", alert_kind="benchmark_sweep"),
        record("ä:b"),
    ]
    assert send_control(settings(), records) == "control"
    assert on_topic(settings()) == [
        ("allow:account:a", records[0].encode()),
        ("suppress:high_entropy:account:a", records[1].encode()),
        ("suppress:benchmark_sweep:account:a", records[2].encode()),
        ("allow:account:ä:b", records[3].encode()),
    ]


def test_a_topic_that_is_not_there_is_not_made(settings):
    with pytest.raises(ControlError, match=r"'absent' does not exist.*topics create"):
        send_control(settings("absent"), [record()])
    with pytest.raises(ControlError):
        send_control(settings("absent"), [record()])
