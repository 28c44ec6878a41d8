"""Purpose: mean ratio over limits, shrunk while there is little, packed into few bytes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.catalog.purpose import LEAST, Purpose
from detectors.checks import purpose
from detectors.errors import ConfigError, StateError
from detectors.observation import Observation


def ratio(odds):
    return math.log(0.75 + math.exp(odds) / 4)


def learned(values, count, **arguments):
    detector = Purpose(**arguments)
    for number in range(count):
        detector.learn_one(Observation("a", str(number), purpose=purpose(*values)))
    return detector


def test_the_most_telling_kind_over_its_own_limit_counts():
    detector = learned((100, 60), 1000, limits=(4.0, 0.5))
    first, second = detector.means()
    assert first == pytest.approx(ratio(5.0), rel=0.02)
    assert second == pytest.approx(ratio(3.0), rel=0.02)
    assert detector.score_one() == pytest.approx(second - 0.5)


def test_few_exchanges_show_little():
    scores = [learned((100,), count).score_one() for count in (1, 4, 16, 64, 256)]
    assert scores[0] == 0.0
    assert scores == sorted(scores)
    assert scores[-1] < (ratio(5.0) - LEAST) / (LEAST + 0.5)


def test_evidence_against_every_kind_scores_nothing():
    assert learned((-100, -3), 200).score_one() == 0.0


def test_texts_that_were_not_read_do_not_count():
    detector = learned((100,), 50)
    before = detector.snapshot()
    detector.learn_one(Observation("a", "unread"))
    assert detector.snapshot() == before
    assert learned((), 50).score_one() is None


def test_a_quarter_of_query_sets_is_not_outvoted_by_the_rest():
    detector = Purpose()
    for number in range(256):
        read = purpose(100 if number % 4 == 0 else -100)
        detector.learn_one(Observation("a", str(number), prompt=1 + number * 977, purpose=read))
    assert detector.means()[0] > 2 * LEAST


def test_the_explanation_names_the_kind_and_the_numbers():
    said = learned((5, 100), 64, limits=(1.0, 1.5), kinds=("rubric", "puzzles")).explain(2.5, 0.0)
    assert "'puzzles'" in said
    assert "64 different prompts" in said
    assert "stay below 1.50; scaled excess 2.50" in said


@given(st.lists(st.lists(st.integers(-128, 127), min_size=8, max_size=8), max_size=60))
def test_state_survives_and_continues(rows):
    whole = Purpose()
    for number, row in enumerate(rows):
        whole.learn_one(Observation("a", str(number), purpose=purpose(*row)))
    again = Purpose()
    again.restore(whole.snapshot())
    for detector in (whole, again):
        detector.learn_one(Observation("a", "last", purpose=purpose(7)))
    assert again.snapshot() == whole.snapshot()
    assert again.score_one() == whole.score_one()


@pytest.mark.parametrize(
    "state",
    [
        [0] * 8,
        [1] + [0] * 8,
        [0] * 8 + [-1],
        [0] * 8 + [1 << 40],
        [0] * 10,
    ],
)
def test_state_that_no_texts_can_give_is_refused(state):
    with pytest.raises(StateError):
        Purpose().restore(state)


@pytest.mark.parametrize("limits", [(0.0,), (-1.0,), (float("nan"),), (float("inf"),), (1.0,) * 25])
def test_limits_must_be_positive_and_few(limits):
    with pytest.raises(ConfigError, match="limits"):
        Purpose(limits=limits)
