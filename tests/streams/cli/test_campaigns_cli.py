"""`campaigns`: from a file of alerts to incidents."""

import json

import pytest
from typer.testing import CliRunner

from streams.cli import build
from streams.codecs import encode_alert
from tests.detectors.test_campaigns import CARD, DEVICE, OTHER


@pytest.fixture
def run():
    runner = CliRunner()
    return lambda *arguments: runner.invoke(build(), ["campaigns", *map(str, arguments)])


@pytest.fixture
def alerts(tmp_path):
    path = tmp_path / "alerts.jsonl"
    path.write_bytes(b"".join(encode_alert(one) + b"\n" for one in (CARD, DEVICE, OTHER)))
    return path


def test_people_read_what_is_shared_and_by_whom(run, alerts):
    result = run(alerts)
    assert result.exit_code == 0
    assert "HIGH  6 accounts, at least 60 exchanges" in result.stdout
    assert "share payment aa: 6 accounts" in result.stdout
    assert "share device bb: 4 accounts" in result.stdout
    assert "2 campaigns" in result.stderr


def test_programs_read_one_object_per_line(run, alerts):
    found = [json.loads(line) for line in run(alerts, "--json").stdout.splitlines()]
    assert [len(one["members"]) for one in found] == [6, 4]


def test_a_line_that_is_no_alert_is_named(run, alerts):
    alerts.write_bytes(alerts.read_bytes() + b'{"schema":"other"}\n')
    result = run(alerts)
    assert result.exit_code == 1
    assert "alerts.jsonl, line 4: not an alert" in result.stderr
