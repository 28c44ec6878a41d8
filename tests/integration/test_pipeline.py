"""On a real broker the pipeline gives what one undisturbed pass gives, whatever happens to its workers."""

import random
import signal
import threading
import time

import pytest

from tests.integration.traffic import make_events

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


def values(seed, **sizes):
    return [value for _, value in make_events(seed, **sizes)]


def sending(deployment, events, *, rate):
    """Send in the background; returns the thread."""
    thread = threading.Thread(target=deployment.send, args=(events,), kwargs={"rate": rate})
    thread.start()
    return thread


def test_live_alerts_and_state_equal_one_pass(deploy):
    deployment = deploy()
    worker = deployment.start()
    deployment.send(values(1))
    deployment.await_applied(deployment.sent, unless=lambda: worker.poll() is not None)
    assert deployment.stop(worker) == 0, deployment.log_tails()
    deployment.assert_as_in_one_pass()


def test_nothing_lost_or_counted_twice_through_sigkill(deploy):
    deployment = deploy()
    rng = random.Random(2)
    sender = sending(deployment, values(2, ordinary=60, each=80), rate=300)
    worker = deployment.start()
    for _ in range(4):
        time.sleep(rng.uniform(2.5, 6))
        deployment.kill(worker)
        worker = deployment.start()
    sender.join()
    deployment.await_applied(deployment.sent, unless=lambda: worker.poll() is not None)
    deployment.stop(worker)
    deployment.assert_as_in_one_pass()


def test_ingest_killed_apart_from_detect(deploy):
    deployment = deploy()
    rng = random.Random(3)
    sender = sending(deployment, values(3), rate=200)
    detect = deployment.start("detect")
    ingest = deployment.start("ingest")
    for _ in range(3):
        time.sleep(rng.uniform(1.5, 4))
        deployment.kill(ingest)
        ingest = deployment.start("ingest")
    sender.join()
    deployment.await_applied(deployment.sent, unless=lambda: detect.poll() is not None)
    deployment.assert_as_in_one_pass()


def test_an_owner_paused_past_its_session_is_fenced(deploy):
    deployment = deploy()
    events = values(4)
    deployment.start("ingest")
    paused = deployment.start("detect")
    deployment.send(events[: len(events) // 2])
    deployment.await_applied(deployment.sent // 2)
    paused.send_signal(signal.SIGSTOP)
    successor = deployment.start("detect")
    deployment.send(events[len(events) // 2 :])
    deployment.await_applied(deployment.sent)
    before = deployment.positions()
    paused.send_signal(signal.SIGCONT)
    # It wakes with unsaved work of its own. Whatever it does now, the newer state must stand.
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and paused.poll() is None:
        time.sleep(0.2)
    assert successor.poll() is None or paused.poll() is None, deployment.log_tails()
    deployment.await_applied(deployment.sent)
    assert len(before) == len(deployment.positions())
    deployment.assert_as_in_one_pass()


def test_two_workers_share_and_one_leaves(deploy):
    deployment = deploy()
    first = deployment.start()
    sender = sending(deployment, values(5, ordinary=60, each=80), rate=250)
    time.sleep(3)
    second = deployment.start()
    time.sleep(6)
    assert deployment.stop(first) == 0, deployment.log_tails()
    sender.join()
    deployment.await_applied(deployment.sent, unless=lambda: second.poll() is not None)
    deployment.assert_as_in_one_pass()


def test_poison_records_become_dead_letters_as_they_came(deploy):
    poison = [
        b"",
        b"not json",
        b'{"event_id":"x"}',
        b"[" * 5000,
        b'{"event_id":"n","time":NaN,"account_id":"a","messages":[{"role":"user","content":"x"}]}',
        b'{"event_id":"y","time":0,"account_id":"a","messages":[{"role":"user","content":"x"}]}',
        b'{"event_id":"z","time":"2099-01-01T00:00:00Z","account_id":"a","messages":[{"role":"user","content":"x"}]}',
        b'{"event_id":"q","time":1772400000000,"account_id":null,"messages":[{"role":"user","content":"x"}]}',
        b"\xff\xfe\x00",
    ]
    good = values(6, ordinary=20, graders=3)
    mixed = list(good)
    for at, value in enumerate(poison):
        mixed.insert(100 * (at + 1), value)
    deployment = deploy()
    worker = deployment.start()
    deployment.send(mixed)
    deployment.await_applied(len(good), unless=lambda: worker.poll() is not None)
    dead = deployment.read(deployment.settings.topics.deadletter)
    assert sorted({message.value() or b"" for message in dead}) == sorted(set(poison))
    for message in dead:
        headers = dict(message.headers())
        assert headers["__connect.errors.topic"].decode() == deployment.settings.topics.requests
        assert headers["__connect.errors.exception.class.name"]
        assert headers["__connect.errors.offset"].isdigit()
    deployment.assert_as_in_one_pass()


def test_the_worker_stops_when_nearly_everything_is_undecodable(deploy):
    deployment = deploy()
    worker = deployment.start("ingest")
    deployment.send([b"\x00\x01 some other format"] * 5000)
    assert worker.wait(60) == 1, deployment.log_tails()
    assert "not request events" in worker.log.read_text()
    assert "Traceback" not in worker.log.read_text()
    assert len(deployment.read(deployment.settings.topics.deadletter)) < 2000


def test_no_prompt_text_leaves_ingest(deploy):
    canary = "xylophone-canary-9f3a"
    poison = f'{{"event_id": "x", "messages": "{canary}"'.encode()
    events = [value.replace(b"Explain", canary.encode() + b" Explain") for value in values(8, ordinary=10)]
    assert any(canary.encode() in event for event in events)
    deployment = deploy()
    worker = deployment.start()
    deployment.send([*events, poison])
    deployment.await_applied(len(events), unless=lambda: worker.poll() is not None)
    deployment.stop(worker)
    topics = deployment.settings.topics
    for topic in (topics.observations, topics.state, topics.alerts):
        messages = deployment.read(topic)
        assert messages, f"{topic} is empty, so this shows nothing"
        for message in messages:
            assert canary.encode() not in (message.value() or b"") + (message.key() or b"")
    (dead,) = deployment.read(topics.deadletter)
    assert dead.value() == poison
    assert canary not in str(dead.headers())
    assert canary not in worker.log.read_text()


@pytest.mark.parametrize("wrong", ["missing", "partitions"])
def test_the_worker_refuses_wrong_topics(deploy, kafka, wrong):
    deployment = deploy()
    if wrong == "missing":
        deployment.environment["EXTRACTION_TOPICS__STATE"] = "no-such-topic"
    else:
        deployment.environment["EXTRACTION_TOPICS__PARTITIONS"] = "7"
    worker = deployment.start()
    assert worker.wait(60) == 1, deployment.log_tails()
    said = worker.log.read_text()
    assert "topics create" in said
    assert "Traceback" not in said


def test_broker_restarted_under_load(deploy, own_kafka):
    deployment = deploy(on=own_kafka)
    worker = deployment.start()
    sender = sending(deployment, values(7, ordinary=60, each=80), rate=200)
    time.sleep(5)
    own_kafka.restart()
    sender.join()
    deadline = time.monotonic() + 60
    while deployment.applied() < deployment.sent and time.monotonic() < deadline:
        if worker.poll() is not None:  # ending is allowed, losing is not: a supervisor starts it again
            worker = deployment.start()
        time.sleep(0.5)
    deployment.await_applied(deployment.sent)
    deployment.assert_as_in_one_pass()


def test_a_sharded_campaign_is_found_live_as_in_one_pass_by_two_workers(deploy):
    deployment = deploy(EXTRACTION_CAMPAIGNS__LINKS="payment,device")
    events = values(11, graders=0, shards=60)
    workers = [deployment.start()]
    deployment.send(events[: len(events) // 2])
    workers.append(deployment.start("detect"))
    deployment.send(events[len(events) // 2 :])
    deployment.await_applied(deployment.sent, unless=lambda: workers[0].poll() is not None)
    deployment.await_applied(deployment.sent, role="pools", unless=lambda: workers[0].poll() is not None)
    for worker in workers:
        assert deployment.stop(worker) == 0, deployment.log_tails()
    deployment.assert_as_in_one_pass()
    found = [alert for alert in deployment.alerts() if alert.kind == "coordinated_campaign"]
    assert found
    assert {alert.subject.links[0]["kind"] for alert in found} == {"payment"}
    largest = max(found, key=lambda alert: alert.subject.account_count)
    assert largest.subject.account_count > 50
    assert all(member.startswith("shard-") for member in largest.subject.accounts)
    alone = {alert.subject.id for alert in deployment.alerts() if alert.subject.type == "account"}
    assert not any(account.startswith("shard-") for account in alone), "five exchanges show nothing"


def test_groups_survive_a_killed_worker(deploy):
    deployment = deploy(EXTRACTION_CAMPAIGNS__LINKS="payment")
    rng = random.Random(12)
    sender = sending(deployment, values(12, graders=0, shards=60), rate=300)
    worker = deployment.start()
    for _ in range(3):
        time.sleep(rng.uniform(2.5, 5))
        deployment.kill(worker)
        worker = deployment.start()
    sender.join()
    for role in ("state", "pools"):
        deployment.await_applied(deployment.sent, role=role, unless=lambda: worker.poll() is not None)
    deployment.stop(worker)
    deployment.assert_as_in_one_pass()
