"""From a request on the bus to a page: real Kafka, worker, Prometheus, Alertmanager; rules of `deploy/`."""

import pytest

from tests.integration.monitoring import Monitoring
from tests.integration.traffic import make_events
from tests.kafka.broker import free_ports, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


@pytest.fixture
def monitor(tmp_path):
    """Starts monitoring of a worker's port; ends it afterwards."""
    started = []

    def start(port: int) -> Monitoring:
        directory = tmp_path / "monitoring"
        directory.mkdir()
        started.append(Monitoring(directory, f"127.0.0.1:{port}"))
        return started[-1]

    yield start
    for one in started:
        one.close()


def await_scraped(monitoring, worker, count):
    """Wait until Prometheus has seen, and judged, that so many observations were applied."""
    applied = "extraction_observations_applied_total"
    wait_until(
        lambda: worker.poll() is None and monitoring.query(f"{applied} >= {count}"),
        f"Prometheus has seen {count} observations\n{monitoring.logs()}",
        90,
    )
    # The rules are evaluated every second, so 3 s after it was there everything has been judged.
    wait_until(
        lambda: monitoring.query(f"{applied} offset 3s >= {count}"), "the rules have been evaluated", 30
    )


def test_extraction_pages_security_and_a_dead_worker_the_platform(deploy, monitor):
    (port,) = free_ports(1)
    deployment = deploy(
        EXTRACTION_METRICS__PORT=str(port),
        # The few accounts of the test cannot be as unusual as one ordinary account in 100,000.
        EXTRACTION_DETECTION__PAGE_BUDGET="0.001",
    )
    monitoring = monitor(port)
    worker = deployment.start()
    told = monitoring.webhook.notices

    deployment.send([event for _, event in make_events(1, graders=0)])
    await_scraped(monitoring, worker, deployment.sent)
    assert monitoring.query('ALERTS{concern="attack"}') == {}
    assert not [notice for notice in told if notice.labels["concern"] == "attack"]

    deployment.send([event for _, event in make_events(2, ordinary=0)])
    page = monitoring.await_notice("security-pager", "ExtractionFound")
    assert page.labels["severity"] == "critical"
    assert page.labels["kind"] in {alert.kind for alert in deployment.alerts()}
    assert page.annotations["runbook_url"] == "deploy/runbooks/ExtractionFound.md"
    assert "grader" not in str(page), "a page names no account"

    deployment.kill(worker)
    monitoring.await_notice("platform-pager", "ExtractionDetectorAbsent")
    worker = deployment.start()
    monitoring.await_notice("platform-pager", "ExtractionDetectorAbsent", "resolved")
    for notice in told:
        team = {"attack": "security", "detector": "platform"}[notice.labels["concern"]]
        assert notice.receiver.startswith(team), notice


def test_health_is_visible_to_prometheus(deploy, monitor):
    """Not ready, with nothing else wrong, is seen as such: the rules cannot ask /readyz."""
    (port,) = free_ports(1)
    deployment = deploy(EXTRACTION_METRICS__PORT=str(port))
    monitoring = monitor(port)
    worker = deployment.start()
    wait_until(lambda: monitoring.query("extraction_assigned_partitions > 0"), "partitions assigned", 60)
    wait_until(lambda: monitoring.query("extraction_unready_parts == 0"), "the worker is ready", 30)
    assert monitoring.query("extraction_stalled_parts == 0")
    deployment.environment["EXTRACTION_KAFKA__BOOTSTRAP_SERVERS"] = "127.0.0.1:9"
    deployment.kill(worker)
    deployment.start()
    monitoring.await_notice("platform-queue", "ExtractionWorkerNotReady")
