"""Topics: accounts are placed as Java and librdkafka place them; the plan is created, checked, and told."""

import random

import pytest
from aiokafka.partitioner import murmur2
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from hypothesis import given
from hypothesis import strategies as st

from streams import topics
from streams.settings import load_settings
from streams.topics import BrokerUnreachable, partition_of
from tests.kafka.broker import wait_until

INTERNAL = {"observations", "sightings", "state", "alerts", "control", "deadletter"}

# -- placement -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "java_hash"),
    [  # org.apache.kafka.common.utils.UtilsTest.testMurmur2
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)
@pytest.mark.parametrize("partitions", [1, 2, 7, 8, 1000])
def test_placement_is_that_of_the_java_client(key, java_hash, partitions):
    assert partition_of(key, partitions) == (java_hash & 0x7FFFFFFF) % partitions


def test_placement_is_that_of_librdkafka():
    rng = random.Random(1)
    alphabet = "abcxyz0189-_.:/@ äß漢😀"
    accounts = {"".join(rng.choices(alphabet, k=rng.randint(1, 40))) for _ in range(300)}
    found = {}
    producer = Producer({"test.mock.num.brokers": 1, "partitioner": "murmur2", "log_level": 0})
    for account in accounts:
        producer.produce(
            "t",
            key=account.encode(),
            on_delivery=lambda _, message: found.update({message.key().decode(): message.partition()}),
        )
    assert producer.flush(30) == 0
    partitions = len(producer.list_topics("t", timeout=10).topics["t"].partitions)
    assert partitions > 1
    assert found == {account: partition_of(account, partitions) for account in accounts}


@given(st.text(min_size=1, max_size=256), st.integers(1, 1024))
def test_placement_is_within_range_and_not_bent_by_the_cache(account, partitions):
    first = partition_of(account, partitions)
    assert first == (murmur2(account.encode()) & 0x7FFFFFFF) % partitions
    assert 0 <= first < partitions
    assert partition_of(account, partitions) == first


def test_an_account_id_with_a_lone_surrogate_has_a_place():
    assert 0 <= partition_of("acct-\ud800", 8) < 8


# -- plan ------------------------------------------------------------------------------------------


def planned(**overrides):
    return {topic.role: topic for topic in topics.plan(load_settings(overrides=overrides))}


def test_names_and_sizes_come_from_the_settings():
    plan = planned(**{"topics.partitions": 12, "topics.alerts": "security.alerts"})
    assert plan.keys() == INTERNAL | {"requests"}
    assert plan["alerts"].name == "security.alerts"
    assert plan["observations"].partitions == plan["state"].partitions == 12
    assert [role for role, topic in plan.items() if not topic.ours] == ["requests"]


def test_state_is_compacted_and_never_deleted_by_age():
    config = planned()["state"].config
    assert config["cleanup.policy"] == "compact"
    assert "retention.ms" not in config


def test_the_largest_refused_record_fits_the_dead_letters():
    plan = planned(**{"ingest.max_event_bytes": 50_000_000})
    settings = load_settings(overrides={"ingest.max_event_bytes": 50_000_000})
    assert topics.largest_message_bytes(settings) > 50_000_000
    assert int(plan["deadletter"].config["max.message.bytes"]) == topics.largest_message_bytes(settings)


@pytest.mark.parametrize(("copies", "insync"), [(-1, None), (1, None), (3, "2")])
def test_acknowledged_means_on_two_brokers_where_there_are_three_copies(copies, insync):
    plan = planned(**{"topics.replication_factor": copies})
    assert {plan[role].config.get("min.insync.replicas") for role in INTERNAL} == {insync}


# -- librdkafka's mock cluster: has topics, but neither makes them on request nor tells their configuration


@pytest.fixture
def mock():
    """Producer whose mock cluster others can reach, and the servers of it."""
    producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    broker = next(iter(producer.list_topics(timeout=10).brokers.values()))
    return producer, f"{broker.host}:{broker.port}"


def make(producer, *names):
    for name in names:
        producer.produce(name, b"", partition=0)
    assert producer.flush(30) == 0


def test_missing_topics_are_told_with_the_command_that_makes_them(mock):
    _, servers = mock
    problems = topics.check(load_settings(overrides={"kafka.bootstrap_servers": servers}))
    by_topic = {problem.where: problem for problem in problems if problem.fatal}
    assert len(by_topic) == 7
    assert "extraction-detector topics create" in by_topic["topic extraction.state"].fix
    assert "topics.requests" in by_topic["topic llm.requests"].fix


def test_topics_as_planned_leave_only_a_warning_about_copies(mock):
    producer, servers = mock
    settings = load_settings(overrides={"kafka.bootstrap_servers": servers, "topics.partitions": 4})
    make(producer, *(topic.name for topic in topics.plan(settings)))
    assert topics.reach(settings).topics["extraction.state"].partitions == 4
    problems = topics.check(settings)
    assert [problem.severity for problem in problems] == ["warning"]
    assert "1 broker" in problems[0].message
    assert topics.create(settings).created == []


def test_another_partition_count_is_an_error_where_accounts_would_be_misplaced(mock):
    producer, servers = mock
    settings = load_settings(overrides={"kafka.bootstrap_servers": servers, "topics.partitions": 8})
    make(producer, *(topic.name for topic in topics.plan(settings)))
    errors = [problem for problem in topics.check(settings) if problem.fatal]
    assert {problem.where for problem in errors} == {
        "topic extraction.observations",
        "topic extraction.state",
    }
    assert all("has 4 partitions, but topics.partitions is 8" in problem.message for problem in errors)


def test_a_dry_run_says_what_would_be_made_and_makes_nothing(mock):
    _, servers = mock
    settings = load_settings(overrides={"kafka.bootstrap_servers": servers})
    for requests, count in ((False, 6), (True, 7)):
        report = topics.create(settings, dry_run=True, requests=requests)
        assert report.dry_run
        assert len(report.created) == count
        assert all(topic.partitions for topic in report.created)
    assert topics.reach(settings).topics == {}


def test_a_cluster_without_a_controller_makes_no_topics_and_says_so(mock):
    _, servers = mock
    report = topics.create(load_settings(overrides={"kafka.bootstrap_servers": servers}))
    assert report.created == []
    assert "no controller" in report.problems[0].message


def test_an_unreachable_broker_is_told_plainly(unused_port):
    settings = load_settings(overrides={"kafka.bootstrap_servers": f"127.0.0.1:{unused_port}"})
    for call in (topics.reach, topics.check, topics.create):
        with pytest.raises(BrokerUnreachable) as caught:
            call(settings, timeout_s=1)
        assert f"127.0.0.1:{unused_port}" in str(caught.value)
        assert "kafka.bootstrap_servers" in str(caught.value)
        assert "refused" in caught.value.detail


@pytest.fixture
def unused_port():
    """Port that refuses connections: bound, so that nobody else gets it, but not listened on."""
    import socket

    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.mark.parametrize(
    ("complaint", "short"),
    [
        (
            "[thrd:a:1/bootstrap]: a:1/bootstrap: Connect to ipv4#10.0.0.1:1 failed: refused (after 0ms)",
            "Connect to ipv4#10.0.0.1:1 failed: refused",
        ),
        ("sasl_ssl://a:9/1: SASL authentication error: denied", "SASL authentication error: denied"),
        ("something else", "something else"),
    ],
)
def test_complaints_of_the_client_are_shortened_to_the_reason(complaint, short):
    assert topics._short(complaint) == short


# -- a real broker ---------------------------------------------------------------------------------


@pytest.fixture
def on_kafka(kafka, unique):
    """Settings for the real broker, with topics of this test's own."""
    names = {f"topics.{role}": f"{unique}.{role}" for role in INTERNAL | {"requests"}}
    return load_settings(
        overrides={"kafka.bootstrap_servers": kafka.bootstrap_servers, "topics.partitions": 3, **names}
    )


@pytest.mark.kafka
def test_what_is_created_is_as_it_must_be(on_kafka):
    first = topics.create(on_kafka, requests=True)
    assert (len(first.created), first.existing, first.problems) == (7, [], [])
    assert [problem for problem in topics.check(on_kafka) if problem.fatal] == []
    again = topics.create(on_kafka, requests=True)
    assert (again.created, len(again.existing), again.problems) == ([], 7, [])


@pytest.mark.kafka
def test_dead_letters_that_would_not_fit_are_a_warning(on_kafka):
    topics.create(on_kafka, requests=True)
    larger = on_kafka.ingest.model_copy(update={"max_event_bytes": 10**8})
    problems = topics.check(on_kafka.model_copy(update={"ingest": larger}))
    assert not any(problem.fatal for problem in problems)
    too_small = {problem.where for problem in problems if "max.message.bytes" in problem.message}
    assert too_small == {
        f"topic {getattr(on_kafka.topics, role)}" for role in ("deadletter", "observations", "sightings")
    }


@pytest.mark.kafka
@pytest.mark.parametrize("policy", ["delete", "compact,delete"])
def test_state_that_would_be_deleted_by_age_is_an_error(on_kafka, policy):
    topics.create(on_kafka, requests=True)
    admin = AdminClient(on_kafka.kafka.client())
    entry = ConfigEntry("cleanup.policy", policy, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, on_kafka.topics.state, incremental_configs=[entry])
    for answer in admin.incremental_alter_configs([resource]).values():
        answer.result()
    found = []

    def told():  # the controller has the change a little before brokers do
        found[:] = [problem for problem in topics.check(on_kafka) if problem.fatal]
        return found

    wait_until(told, "the changed policy is noticed")
    assert [problem.where for problem in found] == [f"topic {on_kafka.topics.state}"]
    assert f"cleanup.policy={policy}" in found[0].message


@pytest.mark.kafka
def test_too_few_brokers_for_the_copies_is_told_with_the_key(on_kafka):
    topics_with_9 = on_kafka.topics.model_copy(update={"replication_factor": 9})
    report = topics.create(on_kafka.model_copy(update={"topics": topics_with_9}))
    assert report.created == []
    assert len(report.problems) == 6
    assert all("topics.replication_factor" in problem.fix for problem in report.problems)
