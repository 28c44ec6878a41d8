"""Alerting rules: each has a runbook, labels to route by, cases that fire and do not, and real metrics."""

import re

import pytest
import yaml

from deploy import dashboard
from streams.codecs import REASONS
from streams.metrics import Metrics
from tests.deploy.tools import DEPLOY, run, said, tool

RULES = DEPLOY / "prometheus/rules.yml"
TESTS = sorted((DEPLOY / "prometheus/tests").glob("*.yml"))
RUNBOOKS = DEPLOY / "runbooks"

_ALL = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in _ALL if "alert" in rule}
RECORDED = {rule["record"]: rule for rule in _ALL if "record" in rule}
BY_PROMETHEUS = {"up"}
NAME = re.compile(r"\b(?:job\w*:)?(?:extraction|process|python)_\w+(?::\w+)?|\bup\b")


def used(expression: str) -> set[str]:
    """Metrics that an expression names, its label values and comments left out."""
    return set(NAME.findall(re.sub(r'"[^"]*"', '""', expression)))


@pytest.fixture(scope="module")
def exported() -> dict[str, dict[str, set[str]]]:
    """Every sample of a worker -> label -> values."""
    found: dict[str, dict[str, set[str]]] = {}
    for family in Metrics(dead_letter_reasons=REASONS).registry.collect():
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


def test_every_alert_has_a_runbook_and_every_runbook_an_alert():
    assert {path.stem for path in RUNBOOKS.glob("*")} == ALERTS.keys()


@pytest.mark.parametrize("name", ALERTS)
def test_a_runbook_says_what_is_needed_at_night(name):
    text = (RUNBOOKS / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n")
    assert re.findall("^## (.*)", text, re.M) == ["Meaning", "Impact", "First look", "Mitigation"]
    assert all(len(part.split()) >= 5 for part in re.split("^## .*", text, flags=re.M)[1:])
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (RUNBOOKS / link).resolve().exists(), link


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_can_be_routed_and_looked_up(name):
    rule = ALERTS[name]
    assert name.startswith("Extraction")
    assert rule["labels"]["concern"] in ("attack", "detector")
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert "{{" not in rule["annotations"]["summary"]
    assert rule["annotations"]["runbook_url"] == f"deploy/runbooks/{name}.md"


@pytest.mark.parametrize("name", [*ALERTS, *RECORDED])
def test_rules_use_only_metrics_and_labels_that_there_are(name, exported):
    expression = (ALERTS.get(name) or RECORDED[name])["expr"]
    names = used(expression)
    assert names, "no metric at all"
    assert names <= exported.keys() | RECORDED.keys() | BY_PROMETHEUS
    for metric, matchers in re.findall(r"(extraction_\w+)\{([^}]*)\}", expression):
        for label, kind, value in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', matchers):
            for one in value.split("|") if "~" in kind else [value]:
                if metric in exported:
                    assert one in exported[metric][label], f"{metric}: {label} is never {one!r}"


def test_every_recorded_series_is_used():
    text = RULES.read_text() + dashboard.text()
    for name in RECORDED:
        assert text.count(name) > sum(rule.get("record") == name for rule in _ALL), name


def test_every_alert_has_a_case_that_fires_and_one_that_does_not():
    fires, silent = set(), set()
    for path in TESTS:
        for case in yaml.safe_load(path.read_text())["tests"]:
            for one in case.get("alert_rule_test", ()):
                (fires if one.get("exp_alerts") else silent).add(one["alertname"])
    quiet_elsewhere = {"ExtractionDetectorAbsent"}  # fires also where no series exists at all
    assert fires == ALERTS.keys()
    assert silent >= ALERTS.keys() - quiet_elsewhere
    assert silent <= ALERTS.keys()


def test_promtool_accepts_the_rules():
    done = run(tool("promtool"), "check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert done.returncode == 0, said(done)
    assert f"{len(_ALL)} rules found" in said(done)


def test_promtool_accepts_the_configuration():
    done = run(tool("promtool"), "check", "config", DEPLOY / "prometheus/prometheus.yml")
    assert done.returncode == 0, said(done)
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    jobs = {job["job_name"] for job in config["scrape_configs"]}
    named = {job for rule in _ALL for job in re.findall('job="([^"]+)"', rule["expr"])}
    assert named == jobs == {"extraction-detector"}


def test_the_rules_do_as_their_cases_say():
    done = run(tool("promtool"), "test", "rules", *TESTS)
    assert done.returncode == 0, said(done)
    assert said(done).count("SUCCESS") == len(TESTS)


def test_a_rule_that_does_not_do_so_is_noticed(tmp_path):
    """The test above can fail: with a threshold that is never reached, it does."""
    broken = RULES.read_text().replace("extraction_stalled_parts > 0", "extraction_stalled_parts > 1000")
    (tmp_path / "rules.yml").write_text(broken)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/detector.yml").write_text((DEPLOY / "prometheus/tests/detector.yml").read_text())
    done = run(tool("promtool"), "test", "rules", tmp_path / "tests/detector.yml")
    assert done.returncode != 0
    assert "ExtractionWorkerStalled" in said(done)


def test_the_page_for_people_on_call_lists_every_alert_with_its_severity():
    page = (DEPLOY.parent / "docs/on-call.md").read_text()
    listed = dict(re.findall(r"^\| \[(\w+)\]\(\.\./deploy/runbooks/\1\.md\) \| (\w+) \|", page, re.M))
    assert listed == {name: rule["labels"]["severity"] for name, rule in ALERTS.items()}
    attack, ill = page.split("## The detector is ill")
    for name, rule in ALERTS.items():
        assert name in (attack if rule["labels"]["concern"] == "attack" else ill)
