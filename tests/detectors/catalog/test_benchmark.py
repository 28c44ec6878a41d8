"""Benchmark: share of prompts with telling phrases, and what it cannot see."""

import pytest

from detectors.catalog.benchmark import Benchmark
from detectors.errors import ConfigError
from tests.detectors.streams_of_exchanges import exchanges, last_score, mark, within

TELLING, OTHER, FOREIGN = mark("benchmark_item"), mark("worked_solution"), mark("answer_format")


def every(step, marks, otherwise=0):
    return lambda at: marks if at % step == 0 else otherwise


@pytest.mark.parametrize(
    ("stream", "low", "high", "why"),
    [
        (exchanges(64, marks=TELLING), 15.9, 16.1, "all prompts, though as if 16 without had come first"),
        (exchanges(64, marks=every(4, TELLING)), 3.9, 4.1, "a quarter of them"),
        (exchanges(8, marks=every(8, TELLING)), 0.8, 0.9, "one of eight is no habit yet"),
        (exchanges(64), 0.0, 0.0, "none"),
        (exchanges(64, marks=FOREIGN), 0.0, 0.0, "phrases of families it does not watch"),
        (exchanges(64, marks=every(2, TELLING, OTHER)), 7.9, 8.1, "families are not added up"),
        (exchanges(64, marks=TELLING, chars=0), None, None, "no text"),
        (
            exchanges(100, marks=every(40, TELLING)),
            0.0,
            0.6,
            "blind spot: a few marked prompts among many",
        ),
        (
            exchanges(500, marks=lambda at: TELLING if at >= 480 else 0),
            0.0,
            0.8,
            "blind spot: a campaign that begins late in the window",
        ),
    ],
)
def test_benchmark(stream, low, high, why):
    assert within(last_score(Benchmark(), stream), low, high), why


def test_a_ceiling_takes_the_weight_from_what_some_ordinary_accounts_always_do():
    place = Benchmark.families.index("benchmark_item")
    ceilings = tuple(1.0 if at == place else 0.05 for at in range(len(Benchmark.families)))
    assert last_score(Benchmark(ceilings=ceilings), exchanges(64, marks=TELLING)) < 1
    assert last_score(Benchmark(ceilings=ceilings), exchanges(64, marks=OTHER)) > 10


@pytest.mark.parametrize("ceilings", [(0.05,), (0.0,) * 99, (2.0,) * len(Benchmark.families)])
def test_wrong_ceilings_are_refused(ceilings):
    with pytest.raises(ConfigError, match="benchmark: ceilings"):
        Benchmark(ceilings=ceilings)
