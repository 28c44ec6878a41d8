"""The embedded broker serves other processes what the demonstration needs, and leaves nothing behind."""

import io
import os
import subprocess
import sys
import time

import psutil
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from streams import embedded
from streams.embedded import EmbeddedBroker, EmbeddedBrokerError, library_path, parse_topic

SECONDS = 30.0


@pytest.fixture(scope="module")
def broker():
    with EmbeddedBroker({"requests": 2, "alerts": 1, "offsets": 3}) as started:
        yield started


def producer(broker, **more):
    return Producer({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0} | more)


def consumer(broker, group, **more):
    settings = {"group.id": group, "enable.auto.commit": False, "log_level": 0}
    return Consumer({"bootstrap.servers": broker.bootstrap_servers} | settings | more)


def read(reader, count):
    found = []
    deadline = time.monotonic() + SECONDS
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} records after {SECONDS:g} s"
        message = reader.poll(0.5)
        if message is not None:
            assert message.error() is None
            found.append((message.partition(), message.key(), message.value()))
    return found


def test_topics_have_the_partitions_asked_for(broker):
    reader = consumer(broker, "metadata")
    topics = reader.list_topics(timeout=SECONDS).topics
    reader.close()
    wanted = {"requests": 2, "alerts": 1, "offsets": 3}
    assert {name: len(topics[name].partitions) for name in wanted} == wanted


def test_group_reads_what_was_sent_and_offsets_are_kept_with_their_metadata(broker):
    sender = producer(broker)
    for partition in (0, 1):
        sender.produce("requests", b"value", key=b"key", partition=partition)
    assert sender.flush(SECONDS) == 0
    reader = consumer(broker, "members", **{"auto.offset.reset": "earliest"})
    reader.subscribe(["requests"])
    assert sorted(read(reader, 2)) == [(0, b"key", b"value"), (1, b"key", b"value")]
    reader.commit(offsets=[TopicPartition("requests", 1, 1, metadata="note")], asynchronous=False)
    reader.close()
    later = consumer(broker, "members")
    (kept,) = later.committed([TopicPartition("requests", 1)], timeout=SECONDS)
    later.close()
    assert (kept.offset, kept.metadata) == (1, "note")


def test_committed_transaction_is_read(broker):
    sender = producer(broker, **{"transactional.id": "only"})
    sender.init_transactions(SECONDS)
    sender.begin_transaction()
    sender.produce("alerts", b"alert", partition=0)
    sender.commit_transaction(SECONDS)
    reader = consumer(broker, "alerts", **{"isolation.level": "read_committed"})
    reader.assign([TopicPartition("alerts", 0, 0)])
    assert read(reader, 1) == [(0, None, b"alert")]
    reader.close()


def test_close_ends_the_process_and_may_be_repeated():
    broker = EmbeddedBroker({"a": 1})
    broker.close()
    broker.close()
    with pytest.raises(ProcessLookupError):
        os.kill(broker.pid, 0)
    with pytest.raises(KafkaException):
        producer(broker).list_topics(timeout=0.5)


def test_broker_ends_when_its_parent_is_killed():
    script = """if True:
        import sys
        from streams.embedded import EmbeddedBroker
        broker = EmbeddedBroker({"a": 1})
        print(broker.pid, flush=True)
        sys.stdin.read()
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with parent:
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.kill()
    deadline = time.monotonic() + SECONDS
    while runs(child):
        assert time.monotonic() < deadline, f"the broker outlives its parent by {SECONDS:g} s"
        time.sleep(0.05)


def runs(process):
    """Whether the process does anything still; one that only waits to be collected does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_files_in_the_working_directory_are_not_imported(monkeypatch, tmp_path):
    (tmp_path / "ctypes.py").write_text("raise SystemExit('imported from the working directory')")
    monkeypatch.chdir(tmp_path)
    with EmbeddedBroker({"a": 1}) as broker:
        assert broker.bootstrap_servers


def test_command_prints_its_address_and_ends_with_its_standard_input():
    done = subprocess.run(
        [sys.executable, "-m", "streams.embedded", "a:1"],
        input="",
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    host, _, port = done.stdout.strip().rpartition(":")
    assert host
    assert port.isdecimal()
    assert done.stderr == ""


def test_failed_start_says_why():
    with pytest.raises(EmbeddedBrokerError, match=r"exit status 2\): topic 'a:0': write it as"):
        EmbeddedBroker({"a": 0})


@pytest.mark.parametrize("text", ["", "a", "a:", ":2", "a:0", "a:-1", "a:two", "a:²", "a b:1"])
def test_malformed_topic_is_refused(text):
    with pytest.raises(EmbeddedBrokerError, match="name:partitions"):
        parse_topic(text)


def test_malformed_topic_ends_the_command_with_one_line(capsys):
    assert embedded.main(["a:0"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_topic_is_parsed():
    assert parse_topic("requests.v1:12") == ("requests.v1", 12)


def test_package_without_the_library_is_named(monkeypatch):
    monkeypatch.setattr(embedded, "_LIBRARIES", ("none/librdkafka*",))
    with pytest.raises(EmbeddedBrokerError, match="wheel"):
        library_path()


def test_library_without_mock_cluster_is_refused(monkeypatch, tmp_path):
    other = tmp_path / "librdkafka.so"
    other.write_bytes(b"not a library")
    monkeypatch.setattr(embedded, "library_path", lambda: other)
    with pytest.raises(EmbeddedBrokerError, match="not usable as a mock cluster"):
        embedded.serve({}, io.StringIO(), io.StringIO())
