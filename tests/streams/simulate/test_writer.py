"""Events to files and topics: what is written can be read, the same bytes each time, and errors are plain."""

import gzip
import json
import os
import time

import orjson
import pytest
import zstandard
from confluent_kafka import Consumer, TopicPartition

from streams.embedded import EmbeddedBroker
from streams.errors import BrokerUnreachable
from streams.simulate import BuiltinPrompts, SimulationSpec, compose, writer
from streams.simulate.writer import TopicWriter, WriteError, at_rate, write_file

SECONDS = 30.0
SPEC = SimulationSpec(accounts=10, days=1, extraction_share=0.2, exchanges=10)


def read(path):
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    elif path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().stream_reader(data).read()
    return [json.loads(line) for line in data.splitlines()]


@pytest.mark.parametrize("name", ["e.jsonl", "e.jsonl.gz", "e.jsonl.zst"])
def test_files_hold_the_events(tmp_path, name):
    composed = compose(SPEC, BuiltinPrompts())
    assert write_file(tmp_path / name, composed) == len(composed)
    assert read(tmp_path / name) == json.loads(orjson.dumps(list(composed)))
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", ["e.jsonl", "e.jsonl.gz", "e.jsonl.zst"])
def test_files_are_the_same_each_time(tmp_path, name):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_file(tmp_path / folder / f"{folder}-{name}", compose(SPEC, BuiltinPrompts()))
    assert (tmp_path / "a" / f"a-{name}").read_bytes() == (tmp_path / "b" / f"b-{name}").read_bytes()


@pytest.mark.parametrize("name", ["e.json", "e.parquet", "e", ".jsonl"])
def test_unknown_endings_are_refused(tmp_path, name):
    with pytest.raises(WriteError, match="unknown ending"):
        write_file(tmp_path / name, [])


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(WriteError, match="cannot be written: No such file"):
        write_file(tmp_path / "none" / "e.jsonl", [{}])


def test_an_interrupted_file_does_not_replace_the_old_one(tmp_path):
    path = tmp_path / "e.jsonl.gz"
    write_file(path, [{"n": 1}])

    def broken():
        yield {"n": 2}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_file(path, broken())
    assert read(path) == [{"n": 1}]
    assert os.listdir(tmp_path) == ["e.jsonl.gz"]


# -- pace ----------------------------------------------------------------------------------------


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self):
        self.now = 1_770_000_000.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_rate_and_stamps():
    clock = Clock()
    events = [{"time": "2026-03-02T00:00:00.000Z", "n": n} for n in range(5)]
    paced = list(at_rate(events, 4.0, stamp=True, clock=clock, wall=clock, sleep=clock.sleep))
    assert [event["time"][17:] for event in paced] == ["00.000Z", "00.250Z", "00.500Z", "00.750Z", "01.000Z"]
    assert clock.now == 1_770_000_001.0


def test_times_are_kept_without_stamps():
    clock = Clock()
    events = [{"time": "2026-03-02T00:00:00.000Z"}] * 3
    assert list(at_rate(events, 1.0, stamp=False, clock=clock, wall=clock, sleep=clock.sleep)) == events


def test_what_fell_behind_is_caught_up_with():
    clock = Clock()
    seen = []
    for event in at_rate(
        ({"n": n} for n in range(10)), 10.0, stamp=False, clock=clock, wall=clock, sleep=clock.sleep
    ):
        seen.append(clock.now)
        if event["n"] == 0:
            clock.now += 0.5
    assert seen[5] == seen[1]
    assert seen[9] - seen[0] == pytest.approx(0.9)


# -- topics --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def broker():
    with EmbeddedBroker({"none": 2, "account": 2, "random": 2, "one": 1}) as started:
        yield started


def records(broker, topic, count):
    reader = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": "reader", "log_level": 0})
    reader.assign([TopicPartition(topic, partition, 0) for partition in (0, 1)])
    found = []
    deadline = time.monotonic() + SECONDS
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} records after {SECONDS:g} s"
        message = reader.poll(0.2)
        if message is not None and message.error() is None:
            found.append((message.key(), json.loads(message.value())))
    reader.close()
    return found


@pytest.mark.parametrize("keyed_by", ["none", "account", "random"])
def test_topics_get_every_event_with_the_key_asked_for(broker, keyed_by):
    composed = compose(SPEC, BuiltinPrompts())
    sender = TopicWriter({"bootstrap.servers": broker.bootstrap_servers}, keyed_by, keyed_by=keyed_by)
    for event in composed:
        sender.write(event)
    assert sender.close() == len(composed) == sender.delivered
    found = records(broker, keyed_by, len(composed))
    sent = {event["event_id"]: json.loads(orjson.dumps(event)) for event in composed}
    assert {event["event_id"]: event for _, event in found} == sent
    keys = [key for key, _ in found]
    if keyed_by == "none":
        assert set(keys) == {None}
    elif keyed_by == "account":
        assert all(key.decode() == event["account_id"] for key, event in found)
    else:
        assert len(set(keys)) == len(keys)


def test_a_topic_that_is_not_there_is_named(broker):
    with pytest.raises(WriteError, match=r"topic 'missing' .* make it with"):
        TopicWriter({"bootstrap.servers": broker.bootstrap_servers}, "missing")


def test_a_broker_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(writer, "_REACH_S", 0.5)
    with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1:9"):
        TopicWriter({"bootstrap.servers": "127.0.0.1:9"}, "requests")
