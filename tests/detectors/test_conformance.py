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

    def __init__(
        self, *, score=float, state=lambda n: n, learns=True, shared=None, said=None, restless=False
    ):
        self.n, self._score, self._state, self._learns = 0, score, state, learns
        self._shared, self._said, self._restless = shared, said, restless

    def learn_one(self, seen):
        if self._learns:
            self.n += 1
        if self._shared is not None:
            self._shared.append(seen)

    def score_one(self):
        if self._shared is not None:
            return float(len(self._shared))
        if self._restless:
            self.n += 1
        return self._score(self.n)

    def explain(self, score, typical):
        return self._said or f"{score:.1f} prompts so far, which is usually {typical:.1f}."

    def snapshot(self):
        return self._state(self.n)

    def restore(self, state):
        self.n = state


# With a stream on which it should separate, and one that reads what there is not.
SPECS = (
    dataclasses.replace(Careless.spec, id="coverage"),
    dataclasses.replace(Careless.spec, reads=("telepathy",)),
)


@pytest.mark.parametrize(
    ("check", "make"),
    [
        (checks.scores_are_finite, lambda _: Careless(score=lambda _n: math.inf)),
        (checks.same_stream_same_scores, lambda _, shared=[]: Careless(shared=shared)),
        (checks.refuses_damaged_state, lambda _: Careless(state=lambda n: n)),
        (checks.state_is_plain_and_bounded, lambda _: Careless(state=lambda n: b"x" * 10_000)),
        (checks.state_is_plain_and_bounded, lambda _: Careless(state=lambda n: object())),
        (checks.restores_in_mid_stream, lambda _: Careless(state=lambda n: 0)),
        (checks.scoring_changes_nothing, lambda _: Careless(restless=True)),
        (checks.abstains_without_its_fields, lambda _: Careless()),
        (checks.separates, lambda _: Careless(learns=False)),
        (checks.explains_in_one_sentence, lambda _: Careless(said="It is odd.")),
        (checks.specification_is_whole, lambda _: Careless()),
    ],
)
def test_the_checks_catch_a_bad_detector(check, make):
    with pytest.raises((DetectorError, TypeError)):
        check(Entry(SPECS[check is checks.specification_is_whole], make))


def test_every_check_is_shown_to_catch_something():
    marks = test_the_checks_catch_a_bad_detector.pytestmark
    shown = {check for check, _ in next(mark for mark in marks if mark.name == "parametrize").args[1]}
    assert shown == set(checks.ALL)


def test_ids_are_unique():
    with pytest.raises(ValueError, match="unique"):
        checked((*ENTRIES, ENTRIES[0]))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.spec.id)
def test_names_predict_one_another(entry):
    detector = entry.make(dataclasses.replace(checks.Ceilings()))
    assert type(detector).__module__ == f"detectors.catalog.{entry.spec.id}"
    assert type(detector).__name__.lower() == entry.spec.id.replace("_", "")
