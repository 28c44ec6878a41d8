"""Entropy: spread of bytes against what the length allows, and what it cannot see."""

import pytest

from detectors.catalog.entropy import Entropy, expected_bits
from tests.detectors.streams_of_exchanges import exchanges, last_score, within

ABSENT = float("nan")


@pytest.mark.parametrize(
    ("stream", "low", "high", "why"),
    [
        (
            exchanges(20, chars=400, entropy=expected_bits(400)),
            -1e-9,
            1e-9,
            "text of its length is the baseline",
        ),
        (exchanges(20, chars=400, entropy=5.9), 1.0, 3.0, "random characters"),
        (exchanges(20, chars=400, entropy=1.0), -4.0, -2.5, "one character again and again"),
        (
            exchanges(40, chars=lambda at: 20 + at * 50, entropy=lambda at: expected_bits(20 + at * 50)),
            -1e-9,
            1e-9,
            "length alone moves nothing",
        ),
        (exchanges(20, chars=400, entropy=ABSENT), None, None, "not measured"),
        (exchanges(20, chars=0, entropy=4.0), None, None, "no text"),
        (exchanges(1, chars=400, entropy=5.9), None, None, "one prompt is no habit"),
        (
            exchanges(20, chars=400, entropy=expected_bits(400) + 0.05),
            0.0,
            0.1,
            "blind spot: salad of real words has the bytes of text",
        ),
    ],
)
def test_entropy(stream, low, high, why):
    assert within(last_score(Entropy(), stream), low, high), why


def test_the_baseline_rises_with_length_and_levels_off():
    bits = [expected_bits(chars) for chars in (10, 40, 160, 640, 2560, 10_000)]
    assert bits == sorted(bits)
    assert bits[-1] - bits[-2] < 0.1
