"""The control topic: what is written, and how a worker follows it whatever is on it."""

import itertools
import threading
import time

import pytest
from confluent_kafka import Producer

from detectors.control import Register
from streams.control import ControlError
from streams.control_topic import Following, send_control
from streams.embedded import EmbeddedBroker
from streams.metrics import CONTROL_KINDS, Metrics
from streams.settings import load_settings
from streams.topics import Cluster
from tests.streams.decisions import T0_MS, record

KINDS = ("high_entropy", "benchmark_sweep")
TOPICS = {f"control-{number}": 3 if number % 2 else 1 for number in range(20)}


@pytest.fixture(scope="module")
def broker():
    with EmbeddedBroker(TOPICS) as started:
        yield started


@pytest.fixture(scope="module")
def unused():
    """Numbers of topics that no test has written to; the odd ones have three partitions."""
    return {partitions: itertools.count(partitions // 2, 2) for partitions in (1, 3)}


@pytest.fixture
def configure(broker, unused):
    def make(topic=None, servers=broker.bootstrap_servers, partitions=1):
        topic = topic or f"control-{next(unused[partitions])}"
        return load_settings(None, {"kafka.bootstrap_servers": servers, "topics.control": topic})

    return make


class Follower:
    """A register that follows a topic, and what was counted."""

    def __init__(self, settings, *, most=1000, **options):
        self.register = Register(most)
        self.metrics = Metrics(process=False)
        self.topic = settings.topics.control
        self.following = Following(
            settings.kafka.client(),
            topic=self.topic,
            register=self.register,
            metrics=self.metrics,
            **options,
        )
        self.stop = threading.Event()
        self.threads = []

    def load(self):
        self.following.load(self.stop)
        return self

    def follow(self, beat=lambda: None):
        self.threads.append(threading.Thread(target=self.following.follow, args=(self.stop, beat)))
        self.threads[0].start()

    def close(self):
        self.stop.set()
        for thread in self.threads:
            thread.join(10)
        self.following.close()

    def said(self, *accounts, kind="high_entropy", at_ms=T0_MS):
        return [self.register.silences(account, kind, at_ms) for account in accounts]

    @property
    def counts(self):
        name = "extraction_control_records_total"
        counted = {k: self.metrics.registry.get_sample_value(name, {"kind": k}) for k in CONTROL_KINDS}
        return {kind: count for kind, count in counted.items() if count}


@pytest.fixture
def follower():
    made = []

    def make(settings, **options):
        made.append(Follower(settings, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def produce(settings, *messages):
    producer = Producer(settings.kafka.client())
    for key, value in messages:
        producer.produce(settings.topics.control, value, key)
    assert producer.flush(30) == 0


def await_that(holds):
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# -- writing ---------------------------------------------------------------------------------------


def test_what_is_written_is_followed_in_every_partition(configure, follower):
    settings = configure(partitions=3)
    records = [record(f"a{number}") for number in range(20)]
    records += [record("ä:b", "suppress", alert_kind=kind) for kind in KINDS]
    assert send_control(settings, records) == settings.topics.control
    found = follower(settings).load()
    assert found.counts == {"allow": 20, "suppress": 2}
    assert found.said(*(f"a{number}" for number in range(20))) == ["allow"] * 20
    assert [found.said("ä:b", kind=kind) for kind in (*KINDS, "coverage_seeking")] == [
        ["suppress"],
        ["suppress"],
        [None],
    ]


def test_a_topic_that_is_not_there_is_not_made(configure):
    for _ in range(2):
        with pytest.raises(ControlError, match=r"'absent' does not exist.*topics create"):
            send_control(configure("absent"), [record()])


def test_what_the_broker_did_not_take_is_told(configure, monkeypatch):
    monkeypatch.setattr("streams.control_topic._WRITE_S", 1.0)
    monkeypatch.setattr("streams.topics.reach", lambda _: Cluster({}, {"control": None}))
    with pytest.raises(ControlError, match="took 0 of 2 records"):
        send_control(configure("control", servers="127.0.0.1:9"), [record(), record("b")])


# -- following -------------------------------------------------------------------------------------


def test_an_empty_topic_is_read_to_its_end(configure, follower):
    assert follower(configure()).load().counts == {}


def test_what_comes_later_is_applied_too(configure, follower):
    settings = configure()
    send_control(settings, [record("a")])
    found, beats = follower(settings).load(), []
    assert found.said("a", "b") == ["allow", None]
    found.follow(lambda: beats.append(1))
    send_control(settings, [record("b")])
    await_that(lambda: found.said("a", "b") == ["allow", "allow"])
    send_control(settings, [record("a", hours=0, reason="lifted", time="2026-03-01T00:00:00.001Z")])
    await_that(lambda: found.said("a", at_ms=T0_MS + 1) == [None])
    assert found.counts == {"allow": 3}
    assert beats


def test_what_cannot_be_used_is_counted_and_named_and_the_rest_applied(configure, follower, caplog):
    settings, good, other = configure(), record("good"), record("other")
    unusable = [
        (b"allow:account:x", b"no json"),
        (None, None),
        (b"\xff", b"\xff"),
        (b"allow:account:x", b""),
        (good.key.encode(), good.encode() + b" " * 65_536),
        (b"good", other.encode()),
        (None, other.encode()),
        (good.key.encode(), other.encode()),
    ]
    produce(settings, *unusable, (good.key.encode(), good.encode()))
    found = follower(settings).load()
    assert found.said("good", "other") == ["allow", None]
    assert found.counts == {"refused": 7, "withdrawn": 1, "allow": 1}
    lines = [line.getMessage() for line in caplog.records if line.levelname == "ERROR"]
    assert [line.split(": ")[0] for line in lines] == [
        f"{found.topic}[0]@{offset}" for offset in (0, 2, 3, 4, 5, 6, 7)
    ]
    assert "larger than 65,536 bytes" in lines[3]
    assert "its key must be b'allow:account:other', not b'good'" in lines[4]


def test_a_tombstone_withdraws_what_has_its_key(configure, follower):
    settings = configure()
    send_control(settings, [record("a"), record("a", "suppress", alert_kind="high_entropy"), record("b")])
    produce(settings, (record("a").key, None))
    found = follower(settings).load()
    assert found.said("a", "b") == ["suppress", "allow"]
    assert found.counts == {"allow": 2, "suppress": 1, "withdrawn": 1}


def test_labels_and_bans_take_no_room(configure, follower):
    settings = configure()
    labels = [record(f"a{number}", "label", label="ordinary", expires=None) for number in range(5)]
    send_control(settings, [*labels, record("b", "ban"), record("c")])
    found = follower(settings, most=1).load()
    assert found.counts == {"label": 5, "ban": 1, "allow": 1}
    assert found.said("c") == ["allow"]


def test_a_full_register_makes_room_by_what_has_long_ended_or_refuses(configure, follower, monkeypatch):
    settings = configure()
    send_control(settings, [record("old"), record("long", hours=24 * 90), record("more", hours=24 * 90)])
    monkeypatch.setattr("time.time", lambda: T0_MS / 1000 + 30 * 86_400)
    found = follower(settings, most=2).load()
    assert found.counts == {"allow": 2, "refused": 1}, (
        "30 days have passed since it began, not since it ended"
    )
    monkeypatch.setattr("time.time", lambda: T0_MS / 1000 + 31 * 86_400)
    found = follower(settings, most=2).load()
    assert found.counts == {"allow": 3}
    assert found.said("old", "long", "more") == [None, "allow", "allow"]


def test_a_topic_that_cannot_be_read_is_an_error(configure, follower):
    with pytest.raises(ControlError, match="absent: cannot be read: Broker: Unknown topic"):
        follower(configure("absent")).load()


def test_a_broker_that_is_gone_is_an_error(configure, follower, monkeypatch):
    monkeypatch.setattr("streams.control_topic._REACH_S", 0.5)
    with pytest.raises(ControlError, match="cannot be read"):
        follower(configure(servers="127.0.0.1:9")).load()
    silent = follower(configure(servers="127.0.0.1:9"), timeout_s=0.5)
    monkeypatch.setattr(silent.following, "_assign", lambda: {0})
    with pytest.raises(ControlError, match="nothing could be read"):
        silent.load()


def test_loading_is_given_up_when_the_worker_ends(configure, follower, monkeypatch):
    found = follower(configure(servers="127.0.0.1:9"))
    monkeypatch.setattr(found.following, "_assign", lambda: {0})
    found.stop.set()
    found.load()
