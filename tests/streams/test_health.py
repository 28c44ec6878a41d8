"""Health over HTTP: progress, readiness, metrics, and a server that starts and stops cleanly."""

import http.client
import json
import socket
import threading

import pytest

from streams.errors import ServerError
from streams.health import Health, Server
from streams.metrics import Metrics


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def health(clock):
    return Health(10.0, needs=("ingest", "detect"), clock=clock)


@pytest.fixture
def metrics():
    return Metrics(process=False)


@pytest.fixture
def server(health, metrics):
    with Server(metrics.registry, health, port=0) as running:
        yield running


def ask(server, path, method="GET", headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers["Content-Type"]
    finally:
        connection.close()


def report(server, path):
    status, body, kind = ask(server, path)
    assert kind == "application/json"
    return status, json.loads(body)


# -- progress --------------------------------------------------------------------------------------


def test_a_worker_that_has_not_begun_is_alive_but_not_ready(server):
    assert report(server, "/healthz")[0] == 200
    status, body = report(server, "/readyz")
    assert status == 503
    assert body["waiting"] == {"ingest": "starting", "detect": "starting"}


def test_a_part_that_stands_still_is_named(server, health, clock):
    health.watch("ingest")
    health.watch("flush")
    clock.now += 9
    health.beat("flush")
    assert report(server, "/healthz")[0] == 200
    clock.now += 2
    status, body = report(server, "/healthz")
    assert (status, body["status"], body["stalled"]) == (503, "stalled", ["ingest"])
    assert body["seconds_since_progress"] == {"flush": 2.0, "ingest": 11.0}
    health.beat("ingest")
    assert report(server, "/healthz")[0] == 200


def test_the_first_beat_of_a_part_begins_its_watch(health, clock):
    health.beat("ingest")
    clock.now += 11
    assert health.stalled() == {"ingest": 11.0}


def test_a_part_without_work_may_be_silent(health, clock):
    work = []
    health.watch("detect", lambda: bool(work))
    clock.now += 3600
    assert health.stalled() == {}
    work.append("message")
    assert health.stalled() == {}, "work that has just come is not late"
    clock.now += 10.5
    assert health.stalled() == {"detect": 3610.5}
    health.beat("detect")
    assert health.stalled() == {}
    clock.now += 9
    assert health.stalled() == {}
    clock.now += 2
    assert health.stalled() == {"detect": 11.0}, "more work without progress"
    work.clear()
    assert health.stalled() == {}


def test_a_part_that_has_ended_is_not_expected_to_progress(health, clock):
    health.watch("ingest")
    health.unwatch("ingest")
    clock.now += 3600
    assert health.stalled() == {}


def test_readiness_follows_every_part(server, health):
    health.ready("ingest")
    assert report(server, "/readyz") == (503, {"status": "waiting", "waiting": {"detect": "starting"}})
    health.ready("detect")
    assert report(server, "/readyz") == (200, {"status": "ready", "waiting": {}})
    health.not_ready("detect", "loading state")
    assert report(server, "/readyz")[1]["waiting"] == {"detect": "loading state"}


def test_a_worker_of_which_nothing_is_known_is_not_ready():
    assert Health().ready_report()[0] is False


# -- pages -----------------------------------------------------------------------------------------


def test_metrics_are_served(server, metrics):
    metrics.events_read.inc(5)
    status, body, kind = ask(server, "/metrics")
    assert status == 200
    assert kind.startswith("text/plain; version=")
    assert "extraction_events_read_total 5.0" in body


def test_metrics_are_served_as_openmetrics_when_asked(server):
    _, body, kind = ask(server, "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert kind.startswith("application/openmetrics-text")
    assert body.endswith("# EOF\n")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/metrics?name=x", 200),
        ("GET", "/nothing", 404),
        ("GET", "/../etc/passwd", 404),
        ("HEAD", "/healthz", 200),
        ("POST", "/metrics", 501),
    ],
)
def test_only_the_pages_are_served(server, method, path, status):
    assert ask(server, path, method)[0] == status


def test_a_silent_client_does_not_hold_up_others(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=5):
        assert ask(server, "/healthz")[0] == 200


def test_a_client_that_sends_no_http_does_no_harm(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as odd:
        odd.sendall(b"\x16\x03\x01 not http\r\n\r\n")
        odd.recv(1000)
    assert ask(server, "/healthz")[0] == 200


# -- life ------------------------------------------------------------------------------------------


def test_two_servers_get_two_ports(server, metrics):
    with Server(metrics.registry, Health(), port=0) as other:
        assert other.port != server.port
        assert other.url == f"http://127.0.0.1:{other.port}"


def test_a_taken_port_is_told_plainly(server, metrics):
    with pytest.raises(ServerError, match=rf"127\.0\.0\.1:{server.port}.*metrics\.port"):
        Server(metrics.registry, Health(), port=server.port)


def test_a_host_that_is_not_here_is_told_plainly(metrics):
    with pytest.raises(ServerError, match=r"metrics\.host"):
        Server(metrics.registry, Health(), host="no.such.host.invalid", port=0)


def test_stopping_gives_the_port_back_also_with_a_client_connected(metrics):
    threads = threading.active_count()
    server = Server(metrics.registry, Health(), port=0).start()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5):
        server.stop()
    server.stop()
    with Server(metrics.registry, Health(), port=server.port) as again:
        assert again.port == server.port
    assert "metrics" not in [thread.name for thread in threading.enumerate()]
    assert threading.active_count() <= threads + 1  # the one of the silent client ends by itself


def test_a_server_that_never_started_can_be_stopped(metrics):
    Server(metrics.registry, Health(), port=0).stop()
