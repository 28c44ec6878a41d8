"""Policy: kind, severity, quiet period, allow-list and identity of alerts, on findings made by hand."""

import dataclasses

import pytest

from detectors.alerts import Subject
from detectors.base import Spec
from detectors.calibration import Reading
from detectors.errors import ConfigError, StateError
from detectors.evidence import Trail
from detectors.observation import Observation
from detectors.policy import (
    KINDS,
    DetectionSettings,
    Finding,
    Memory,
    Policy,
    kind_of,
    rfc3339,
    severity_of,
)
from detectors.registry import ENTRIES

SPECS = {entry.spec.id: entry.spec for entry in ENTRIES}
HOUR = 3_600_000


def reading(detector, surprise, high=True):
    return Reading(SPECS[detector], 1.0, 0.5, surprise, high)


def finding(*readings, share=1e-4, at_ms=0, event_id="e", account="a", events=100, window=0, grown=False):
    seen = Observation(account, event_id, order_ms=at_ms, time_ms=at_ms)
    return Finding(
        subject=Subject("account", account),
        grown=grown,
        seen=seen,
        share=share,
        readings=readings or (reading("probing", 4.0),),
        explain=lambda one: f"{one.spec.id} is 1.0, usually 0.5.",
        events=events,
        window=window,
        first_ms=0,
        last_ms=at_ms,
        trail=Trail(),
    )


@pytest.fixture
def policy():
    return Policy(DetectionSettings(budget=0.001), "0.1.0+profile.test", "c0ffee")


@pytest.mark.parametrize(
    ("readings", "kind", "why"),
    [
        ([reading("probing", 4)], "parameter_probing", "the only signal"),
        ([reading("coverage", 2, high=True)], "coverage_seeking", "broad"),
        ([reading("coverage", 2, high=False)], "templated_harvest", "narrow"),
        (
            [reading("entropy", 2), reading("elicitation", 1.5)],
            "capability_elicitation",
            "purpose before shape",
        ),
        (
            [reading("entropy", 2), reading("elicitation", 0.5)],
            "high_entropy",
            "too little purpose to name it",
        ),
        ([reading("benchmark", 5), reading("elicitation", 3)], "benchmark_sweep", "the stronger purpose"),
        ([reading("cadence", 9)], None, "a supporting signal is no finding"),
        ([reading("cadence", 9), reading("template", 1)], "templated_harvest", "it only supports"),
        ([reading("probing", 0)], None, "nothing is unusual"),
        ([], None, "everything abstains"),
    ],
)
def test_kind(readings, kind, why):
    assert kind_of(readings) == kind, why


def test_every_kind_a_detector_can_name_is_known():
    for spec in SPECS.values():
        assert spec.high in KINDS
        assert spec.low is None or spec.low in KINDS


@pytest.mark.parametrize(
    ("share", "events", "severity"),
    [
        (1e-3, 500, "low"),
        (1e-4, 500, "medium"),
        (1e-5, 500, "high"),
        (1e-6, 500, "critical"),
        (1e-6, 8, "medium"),
        (1e-6, 32, "high"),
    ],
)
def test_severity(share, events, severity):
    assert severity_of(share, 1e-3, 1e-5, events) == severity


def test_nothing_above_the_budget(policy):
    assert policy.decide(finding(share=0.0011), Memory()) is None
    assert policy.decide(finding(share=0.001), Memory()) is not None


def test_quiet_period(policy):
    memory = Memory()
    raised = [
        policy.decide(finding(share=share, at_ms=at * HOUR, event_id=str(at)), memory) is not None
        for at, share in enumerate([1e-3, 1e-3, 1e-4, 1e-3, 1e-4])
    ]
    assert raised == [True, False, True, False, False], "again only where severity rises"
    another = finding(reading("elicitation", 4.0), at_ms=5 * HOUR, event_id="5")
    assert policy.decide(another, memory) is not None, "another kind is news"
    after = finding(share=1e-3, at_ms=(2 + 24) * HOUR, event_id="6")
    assert policy.decide(after, memory) is not None, "the period is over"


def test_allowed_accounts_raise_nothing_and_leave_no_memory():
    policy = Policy(DetectionSettings(allow=frozenset({"a"})), "v", "c")
    memory = Memory()
    assert policy.decide(finding(), memory) is None
    assert memory.snapshot() == b""
    assert policy.decide(finding(account="b"), memory) is not None
    assert policy.silenced == {"allow": 1}


def test_what_people_decided_silences_by_event_time_and_leaves_no_memory():
    class Decided:
        def silences(self, account_id, alert_kind, at_ms):
            return (
                "suppress" if (account_id, alert_kind) == ("a", "parameter_probing") and at_ms < 5 else None
            )

    policy, memory = Policy(DetectionSettings(), "v", "c", Decided()), Memory()
    assert policy.decide(finding(at_ms=4), memory) is None
    assert memory.snapshot() == b""
    assert policy.decide(finding(account="b", at_ms=4), Memory()) is not None
    assert policy.decide(finding(reading("elicitation", 4.0), at_ms=4), Memory()) is not None
    heard = policy.decide(finding(at_ms=5), memory)
    assert heard == Policy(DetectionSettings(), "v", "c").decide(finding(at_ms=5), Memory()), "as if never so"
    assert policy.decide(finding(at_ms=4), memory) is None
    assert policy.silenced == {"suppress": 1}, "what would be quiet anyway is not counted"


def test_an_id_says_what_made_the_alert(policy):
    first = policy.decide(finding(), Memory())
    assert policy.decide(finding(), Memory()).alert_id == first.alert_id
    others = [
        policy.decide(finding(event_id="f"), Memory()),
        policy.decide(finding(account="b"), Memory()),
        policy.decide(finding(window=1), Memory()),
        policy.decide(finding(events=101), Memory()),
        policy.decide(finding(reading("elicitation", 4.0)), Memory()),
        Policy(DetectionSettings(), "v", "other").decide(finding(), Memory()),
    ]
    assert len({first.alert_id, *(alert.alert_id for alert in others)}) == 7


def test_signals_are_the_ones_that_made_the_evidence(policy):
    alert = policy.decide(
        finding(
            reading("probing", 6), reading("cadence", 3), reading("entropy", 1.5), reading("template", 0.2)
        ),
        Memory(),
    )
    assert [signal.name for signal in alert.signals] == ["probing", "entropy", "cadence"]
    # 6, half of 1.5 and a quarter of 1, which is the most that cadence may bring.
    assert [signal.contribution for signal in alert.signals] == pytest.approx(
        [6 / 7, 0.75 / 7, 0.25 / 7], abs=1e-6
    )
    assert alert.technique == "AML.T0024"


def test_no_single_account_is_to_be_suspended_on_statistics(policy):
    alert = policy.decide(finding(share=1e-6), Memory())
    assert alert.severity == "critical"
    assert alert.recommended_action == "step_up_verification"


def test_memory_restores_and_refuses_what_is_none():
    memory = Memory()
    memory.remember("high_entropy", "medium", 5, 0.999)
    memory.remember("coverage_seeking", "low", 6, 0.998)
    again = Memory()
    again.restore(memory.snapshot())
    assert again.snapshot() == memory.snapshot()
    assert again.quiet("high_entropy", "medium", 6, 10)
    for damaged in (memory.snapshot() * 2, b"\xff" * 18, b"1", None, memory.snapshot() * 9):
        with pytest.raises(StateError):
            Memory().restore(damaged)


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_772_409_599_007, "2026-03-01T23:59:59.007Z"),
        (-5, "1970-01-01T00:00:00.000Z"),
        (1 << 62, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_times(time_ms, text):
    assert rfc3339(time_ms) == text


def test_specs_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Spec.__setattr__(SPECS["probing"], "cap", 1.0)


@pytest.mark.parametrize(
    ("share", "severity"),
    [(1e-3, "low"), (4e-4, "low"), (3e-4, "medium"), (1e-4, "high"), (2e-5, "high"), (1e-5, "critical")],
)
def test_a_page_budget_says_what_is_high(share, severity):
    settings = DetectionSettings(page_budget=1e-4)
    assert severity_of(share, settings.budget, settings.paging, 500) == severity


@pytest.mark.parametrize("page_budget", [0.002, 1e-7, 0.0, float("nan")])
def test_a_page_budget_lies_within_the_budget(page_budget):
    with pytest.raises(ConfigError, match="page_budget"):
        DetectionSettings(page_budget=page_budget)
