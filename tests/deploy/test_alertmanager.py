"""Alertmanager: attacks reach security, an ill detector the platform, and only grave things wake people."""

import re

import pytest
import yaml

from tests.deploy.test_rules import ALERTS
from tests.deploy.tools import DEPLOY, run, said, tool

CONFIG = DEPLOY / "alertmanager/alertmanager.yml"


def test_amtool_accepts_the_configuration():
    done = run(tool("amtool"), "check-config", CONFIG)
    assert done.returncode == 0, said(done)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_reaches_whom_it_concerns(name):
    labels = ALERTS[name]["labels"]
    team = {"attack": "security", "detector": "platform"}[labels["concern"]]
    place = "pager" if labels["severity"] == "critical" else "queue"
    done = run(
        tool("amtool"), "config", "routes", "test", f"--config.file={CONFIG}", f"alertname={name}",
        *(f"{label}={value}" for label, value in labels.items()),
    )  # fmt: skip
    assert done.returncode == 0, said(done)
    assert done.stdout.split() == [f"{team}-{place}"]


def test_an_alert_without_our_labels_is_not_lost():
    done = run(tool("amtool"), "config", "routes", "test", f"--config.file={CONFIG}", "alertname=Foreign")
    assert done.stdout.split() == ["platform-queue"]


def test_nothing_hides_an_attack():
    text = CONFIG.read_text()
    named = set(re.findall(r"Extraction\w+", text))
    assert named <= ALERTS.keys()
    for rule in yaml.safe_load(text)["inhibit_rules"]:
        targets = set(re.findall(r"Extraction\w+", " ".join(rule["target_matchers"])))
        only_the_detector = 'concern="detector"' in rule["target_matchers"]
        assert only_the_detector or (
            targets and all(ALERTS[t]["labels"]["concern"] == "detector" for t in targets)
        )
        assert rule["equal"] == ["job"]
