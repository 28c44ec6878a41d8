"""What people decide on the control topic silences alerts of a live worker, and in replay the same ones."""

import time

import orjson
import pytest
from confluent_kafka import Producer

from detectors.control import Control, Register
from tests.integration.traffic import START_MS, make_events

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

WHY = ("--for", "7d", "--reason", "a test", "--owner", "ada")


def from_now_on(seed):
    """Events that begin in a minute, when everything is decided."""
    shift_ms = int(time.time() * 1000) + 60_000 - START_MS
    events = [orjson.loads(value) for _, value in make_events(seed, ordinary=20)]
    return [orjson.dumps({**event, "time": event["time"] + shift_ms}) for event in events]


def await_metric(deployment, worker, count, name, **labels):
    deadline = time.monotonic() + 60
    while deployment.metric(worker, name, **labels) < count:
        assert worker.poll() is None, deployment.log_tails()
        assert time.monotonic() < deadline, deployment.log_tails()
        time.sleep(0.1)


def test_allow_silences_an_account_before_the_start_and_while_it_runs(deploy):
    deployment = deploy(EXTRACTION_EVENTS__CLOCK_SKEW_S="864000")
    control = deployment.settings.topics.control
    printed = deployment.command("allow", "grader-000", *WHY)
    rubbish = Producer(deployment.settings.kafka.client())
    rubbish.produce(control, b"no record", b"allow:account:grader-002")
    assert rubbish.flush(30) == 0
    worker = deployment.start()
    await_metric(deployment, worker, 1, "extraction_control_records_total", kind="refused")
    printed += deployment.command("label", "grader-003", "extraction", "--reason", "a test")
    printed += deployment.command("allow", "grader-001", *WHY)
    await_metric(deployment, worker, 2, "extraction_control_records_total", kind="allow")

    deployment.send(from_now_on(9))
    deployment.await_applied(deployment.sent, unless=lambda: worker.poll() is not None)
    heard = {alert.subject.id for alert in deployment.alerts()}
    assert heard >= {"grader-002", "grader-003"}
    assert not heard & {"grader-000", "grader-001"}
    await_metric(deployment, worker, 2, "extraction_alerts_silenced_total", reason="allow")
    assert deployment.stop(worker) == 0, deployment.log_tails()
    assert "no record" not in worker.log.read_text()
    assert f"{control}[0]@1: control record: " in worker.log.read_text()

    written = [message.value() for message in deployment.read(control)]
    assert [value.decode() for value in written if value != b"no record"] == printed.splitlines()
    decided = Register()
    for line in printed.splitlines():
        decided.apply(Control.decode(line.encode()))
    deployment.assert_as_in_one_pass(decided=decided)
    assert {"grader-000", "grader-001"} <= {alert.subject.id for alert in deployment.oracle()[0].values()}
