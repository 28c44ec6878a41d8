"""Every registered detector keeps the rules that all must keep, and the rules catch one that does not."""

import dataclasses
import math

import pytest

from detectors import checks
from detectors.base import Spec
from detectors.errors import DetectorError
from detectors.registry import ENTRIES, Entry, checked


@pytest.mark.parametrize("check", checks.ALL, ids=lambda check: check.__name__)
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.spec.id)
def test_conformance(entry, check):
    check(entry)


class Careless:
    """Breaks one rule after the other, as its parameters say."""

    spec = Spec(id="careless", version=1, high="coverage_seeking", reads=("chars",), unit="prompts")

    def __init__(self, *, score=float, state=lambda n: n, learns=True, shared=None):
        self.n, self._score, self._state, self._learns = 0, score, state, learns
        self._shared = shared

    def learn_one(self, seen):
        if self._learns:
            self.n += 1
        if self._shared is not None:
            self._shared.append(seen)

    def score_one(self):
        if self._shared is not None:
            return float(len(self._shared))
        return self._score(self.n)

    def explain(self, score, typical):
        return f"{score:.1f} prompts, usually {typical:.1f}."

    def snapshot(self):
        return self._state(self.n)

    def restore(self, state):
        self.n = state


@pytest.mark.parametrize(
    ("check", "make"),
    [
        (checks.scores_are_finite, lambda _: Careless(score=lambda _n: math.inf)),
        (checks.same_stream_same_scores, lambda _, shared=[]: Careless(shared=shared)),
        (checks.refuses_damaged_state, lambda _: Careless(state=lambda n: n)),
        (checks.state_is_plain_and_bounded, lambda _: Careless(state=lambda n: b"x" * 10_000)),
        (checks.state_is_plain_and_bounded, lambda _: Careless(state=lambda n: object())),
        (checks.restores_in_mid_stream, lambda _: Careless(state=lambda n: 0)),
    ],
)
def test_the_checks_catch_a_bad_detector(check, make):
    with pytest.raises((DetectorError, TypeError)):
        check(Entry(Careless.spec, make))


def test_ids_are_unique():
    with pytest.raises(ValueError, match="unique"):
        checked((*ENTRIES, ENTRIES[0]))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.spec.id)
def test_names_predict_one_another(entry):
    detector = entry.make(dataclasses.replace(checks.Ceilings()))
    assert type(detector).__module__ == f"detectors.catalog.{entry.spec.id}"
    assert type(detector).__name__.lower() == entry.spec.id.replace("_", "")
