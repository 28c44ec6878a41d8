"""Metrics: names and units follow the conventions, labels are bounded, nothing appears late."""

import json
import re
from importlib import resources

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from streams import reference
from streams.codecs import REASONS
from streams.metrics import DROP_REASONS, DUPLICATE_REASONS, KINDS, SEVERITIES, STAGES, Metrics

UNITS = (
    "_total",
    "_seconds",
    "_bytes",
    "_info",
    "_messages",
    "_partitions",
    "_observations",
    "_sightings",
    "_accounts",
    "_pools",
    "_parts",
)
LABELS = {"stage", "reason", "kind", "severity"}


@pytest.fixture
def metrics():
    return Metrics(dead_letter_reasons=REASONS, process=False)


def samples(metrics):
    page = generate_latest(metrics.registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_names_have_the_prefix_and_a_base_unit(metrics):
    for family in metrics.registry.collect():
        name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        assert name.startswith("extraction_")
        assert name.endswith(UNITS), name
        assert not re.search("_ms|milli|_kb|_minutes", name)
        assert family.documentation.endswith("."), name


def test_labels_are_few_and_none_is_about_an_account(metrics):
    found = {label for family in metrics.registry.collect() for s in family.samples for label in s.labels}
    assert found - {"le", "version", "python"} == LABELS


def test_series_are_few_and_work_adds_none(metrics):
    before = samples(metrics)
    assert len(before) < 300
    for stage in STAGES:
        for reason in (*DUPLICATE_REASONS, *DROP_REASONS, "late_applied_out_of_order", "never heard of"):
            metrics.skipped.labels(stage=stage, reason=reason).inc()
        metrics.set_lag(stage, [1])
        metrics.last_record.labels(stage=stage).set(1)
        metrics.assigned.labels(stage=stage).set(1)
    for reason in REASONS:
        metrics.dead_letters.labels(reason=reason).inc()
    for kind in KINDS:
        for severity in SEVERITIES:
            metrics.alerts.labels(kind=kind, severity=severity).inc()
    assert samples(metrics).keys() == before.keys()


def test_everything_is_0_at_first(metrics):
    assert {value for (name, _), value in samples(metrics).items() if not name.endswith("_info")} == {0.0}


def test_kinds_and_severities_are_those_of_the_contract():
    contract = json.loads((resources.files("detectors") / "contracts/alert.schema.json").read_text())
    assert list(KINDS) == contract["properties"]["kind"]["enum"]
    assert list(SEVERITIES) == contract["properties"]["severity"]["enum"]


@pytest.mark.parametrize(
    ("reason", "name", "labels"),
    [
        ("repeated_by_ingest", "duplicates", {"stage": "detect", "reason": "repeated_by_ingest"}),
        ("account_evicted", "accounts_dropped", {"reason": "account_evicted"}),
        ("late_applied_out_of_order", "late_observations", {}),
        ("lost_to_retention", "lost_messages", {}),
        ("buffer_overflow", "irregularities", {"stage": "detect", "reason": "buffer_overflow"}),
        ("something new", "irregularities", {"stage": "detect", "reason": "other"}),
    ],
)
def test_a_reason_finds_its_counter(metrics, reason, name, labels):
    metrics.skipped.labels(stage="detect", reason=reason).inc(3)
    grown = {key: value for key, value in samples(metrics).items() if value and not key[0].endswith("_info")}
    assert grown == {(f"extraction_{name}_total", tuple(sorted(labels.items()))): 3.0}


def test_reasons_of_others_can_be_added():
    metrics = Metrics(skip_reasons=("budget_exhausted",), process=False)
    metrics.skipped.labels(stage="detect", reason="budget_exhausted").inc()
    labels = (("reason", "budget_exhausted"), ("stage", "detect"))
    assert samples(metrics)["extraction_irregularities_total", labels] == 1


def test_lag_is_the_sum_and_the_worst(metrics):
    metrics.set_lag("ingest", iter([5, 0, 7]))
    found = samples(metrics)
    stage = (("stage", "ingest"),)
    assert found["extraction_lag_messages", stage] == 12
    assert found["extraction_lag_max_messages", stage] == 7
    metrics.set_lag("ingest", [])
    assert samples(metrics)["extraction_lag_max_messages", stage] == 0


def test_workers_in_one_process_share_nothing(metrics):
    metrics.events_read.inc()
    assert samples(Metrics(process=False))["extraction_events_read_total", ()] == 0


def test_process_metrics_are_there_when_wanted():
    names = {family.name for family in Metrics().registry.collect()}
    assert {"process_resident_memory_bytes", "process_cpu_seconds"} <= names


def test_the_reference_page_is_current(pytestconfig):
    page = pytestconfig.rootpath / "docs" / "metrics.md"
    assert page.read_text(encoding="utf-8") == reference.metrics_markdown(), "run `make docs`"
