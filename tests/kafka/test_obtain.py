"""Without a broker tests are skipped, under CI they fail; the class path is resolved only when it must be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kafka import broker
from tests.kafka.broker import BrokerUnavailableError, KafkaBroker, classpath, kafka_version, obtain_broker

ROOT = Path(__file__).parents[2]


@pytest.fixture
def nothing_there(monkeypatch):
    """No broker given, no container engine, no Java."""
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    monkeypatch.setenv("JAVA_HOME", "/nonexistent")


def test_failure_names_each_way_that_was_tried(nothing_there):
    with pytest.raises(BrokerUnavailableError) as caught:
        obtain_broker()
    for way in (
        "KAFKA_BOOTSTRAP_SERVERS: not set",
        "container: ",
        "local JVM: no java in JAVA_HOME=/nonexistent",
    ):
        assert way in str(caught.value)


@pytest.mark.parametrize(
    ("ci", "status", "said"),
    [("", 0, "SKIPPED"), ("true", 1, "CI is set, so a Kafka broker must be there")],
)
def test_test_without_a_broker_is_skipped_and_under_ci_fails(nothing_there, ci, status, said):
    chosen = "tests/kafka/test_broker.py::test_records_come_back_in_order"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", chosen],
        cwd=ROOT,
        env=os.environ | {"CI": ci},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert said in done.stdout
    assert "no java in JAVA_HOME=/nonexistent" in done.stdout


def test_given_broker_that_does_not_answer_is_named_and_no_other_is_taken(monkeypatch):
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9")
    monkeypatch.setattr(KafkaBroker, "_answers", lambda self, seconds: False)
    with pytest.raises(
        BrokerUnavailableError, match=r"KAFKA_BOOTSTRAP_SERVERS=127\.0\.0\.1:9: no broker answers"
    ):
        obtain_broker()


@pytest.mark.parametrize("address", ["127.0.0.1:9", "[::1]:9", "no-port"])
def test_address_without_a_broker_does_not_answer(address):
    assert not KafkaBroker(address, "a test")._answers(seconds=0.1)


@pytest.fixture
def maven(monkeypatch, tmp_path):
    """A stand-in for mvn that notes each call and names one jar; returns the notes and the jar."""
    calls, jar = tmp_path / "calls", tmp_path / "kafka.jar"
    jar.touch()
    command = tmp_path / "bin" / "mvn"
    command.parent.mkdir()
    command.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, sys\n"
        f"pathlib.Path({str(calls)!r}).open('a').write('call\\n')\n"
        f"pathlib.Path({str(jar)!r}).touch()\n"
        "pathlib.Path(sys.argv[-1].partition('=')[2])"
        f".write_text({str(jar)!r})\n"
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent))
    monkeypatch.setattr(broker, "CACHE", tmp_path / "cache")
    return calls, jar


def test_class_path_is_resolved_once(maven):
    calls, jar = maven
    assert [classpath(), classpath()] == [str(jar)] * 2
    assert calls.read_text().count("call") == 1


def test_class_path_is_resolved_again_when_a_jar_is_gone(maven):
    calls, jar = maven
    classpath()
    jar.unlink()
    assert classpath() == str(jar)
    assert calls.read_text().count("call") == 2


def test_class_path_is_resolved_again_when_the_pom_changes(maven, monkeypatch, tmp_path):
    calls, jar = maven
    classpath()
    changed = tmp_path / "pom.xml"
    changed.write_text(broker.POM.read_text().replace(kafka_version(), "4.0.0"))
    monkeypatch.setattr(broker, "POM", changed)
    assert kafka_version() == "4.0.0"
    assert classpath() == str(jar)
    assert calls.read_text().count("call") == 2


def test_missing_maven_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(broker, "CACHE", tmp_path / "cache")
    with pytest.raises(BrokerUnavailableError, match="no mvn in PATH"):
        classpath()
