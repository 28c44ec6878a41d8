"""Cadence: even use around the clock, and what it cannot see."""

import pytest

from detectors.catalog.cadence import Cadence
from tests.detectors.streams_of_exchanges import DAY, HOUR, MINUTE, exchanges, last_score, within


def office(at):
    """Ten exchanges from nine o'clock, at uneven gaps, then nothing until the next day."""
    return at // 10 * DAY + 9 * HOUR + (at % 10) ** 2 * MINUTE


@pytest.mark.parametrize(
    ("stream", "low", "high", "why"),
    [
        (exchanges(300, order_ms=lambda at: at * 10 * MINUTE), 0.9, 1.0, "every ten minutes, for two days"),
        (exchanges(100, order_ms=office), 0.0, 0.35, "office hours"),
        (exchanges(100, order_ms=lambda at: at * 1000), None, None, "a burst of two minutes says nothing"),
        (exchanges(5, order_ms=lambda at: at * DAY), None, None, "five exchanges say nothing"),
        (exchanges(50, order_ms=0), None, None, "all at one time"),
        (
            [*exchanges(100, order_ms=office), *exchanges(20, order_ms=HOUR)],
            0.0,
            0.35,
            "late exchanges count as simultaneous",
        ),
        (
            exchanges(300, order_ms=office),
            0.0,
            0.35,
            "blind spot: an attack that keeps office hours",
        ),
    ],
)
def test_cadence(stream, low, high, why):
    assert within(last_score(Cadence(), stream), low, high), why


def test_it_only_supports():
    assert Cadence.spec.supporting
