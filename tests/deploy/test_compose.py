"""The compose file: accepted by Compose, of files that there are, with the Kafka of the tests."""

import json
import re
from pathlib import Path

import pytest
import yaml

from streams.settings import load_settings
from tests.deploy.tools import DEPLOY, ROOT, run, said, tool

FILE = DEPLOY / "compose.yaml"
KEY = "0123456789abcdef, not a secret"


@pytest.fixture
def model(monkeypatch):
    """The file as Compose understands it, all profiles switched on."""
    monkeypatch.setenv("EXTRACTION_HASH_KEY", KEY)
    done = run(tool("docker-compose"), "-f", FILE, "--profile", "*", "config", "--format", "json")
    assert done.returncode == 0, said(done)
    assert not done.stderr, "a warning"
    return json.loads(done.stdout)


def test_compose_accepts_it(model):
    assert model["services"].keys() >= {"kafka", "topics", "worker", "prometheus", "alertmanager", "grafana"}


def test_without_a_key_it_says_what_to_do(monkeypatch):
    monkeypatch.delenv("EXTRACTION_HASH_KEY", raising=False)
    done = run(tool("docker-compose"), "-f", FILE, "config")
    assert done.returncode != 0
    assert "export EXTRACTION_HASH_KEY=$(openssl rand -base64 32)" in said(done)


def test_every_mounted_file_is_there(model):
    mounted = [
        volume["source"]
        for service in model["services"].values()
        for volume in service.get("volumes", ())
        if volume["type"] == "bind"
    ]
    assert mounted
    for path in mounted:
        assert Path(path).exists(), path


def test_the_settings_of_the_worker_are_valid(model, monkeypatch):
    for name, value in model["services"]["worker"]["environment"].items():
        monkeypatch.setenv(name, value)
    settings = load_settings(None)
    assert settings.secret_key() == KEY.encode()
    kafka = model["services"]["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert f"://{settings.kafka.bootstrap_servers}," in kafka


def test_the_worker_starts_behind_the_topics_and_has_no_rights(model):
    worker = model["services"]["worker"]
    assert worker["depends_on"]["topics"]["condition"] == "service_completed_successfully"
    assert model["services"]["topics"]["depends_on"]["kafka"]["condition"] == "service_healthy"
    assert worker["read_only"]
    assert worker["cap_drop"] == ["ALL"]


def test_nothing_listens_beyond_this_machine(model):
    ports = [port for service in model["services"].values() for port in service.get("ports", ())]
    assert ports
    assert all(port["host_ip"] == "127.0.0.1" for port in ports)


def test_versions_are_fixed_and_kafka_is_the_one_of_the_tests(model):
    images = {name: service["image"] for name, service in model["services"].items() if "build" not in service}
    assert all(re.search(r":v?\d+\.\d+\.\d+$", image) for image in images.values())
    tested = re.search("<kafka.version>(.*)</kafka.version>", (ROOT / "tests/kafka/pom.xml").read_text())[1]
    assert images["kafka"] == f"apache/kafka:{tested}"


def test_prometheus_and_grafana_find_their_counterparts(model):
    prometheus = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    (job,) = prometheus["scrape_configs"]
    assert job["dns_sd_configs"][0]["names"] == ["worker"]
    (manager,) = prometheus["alerting"]["alertmanagers"]
    assert manager["static_configs"][0]["targets"][0].split(":")[0] in model["services"]
    source = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())
    assert re.fullmatch(r"http://(\w+):9090", source["datasources"][0]["url"])[1] in model["services"]
