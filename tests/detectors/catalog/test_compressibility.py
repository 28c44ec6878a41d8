"""Compressibility: repetition inside prompts against what the length allows, and what it cannot see."""

import pytest

from detectors.catalog.compressibility import Compressibility, expected_ratio
from tests.detectors.streams_of_exchanges import exchanges, last_score, within

ABSENT = float("nan")


@pytest.mark.parametrize(
    ("stream", "low", "high", "why"),
    [
        (exchanges(20, chars=900, compression=expected_ratio(900)), -1e-9, 1e-9, "text of its length"),
        (exchanges(20, chars=900, compression=0.95), 0.2, 0.6, "random characters"),
        (exchanges(20, chars=900, compression=0.05), -0.7, -0.3, "one line repeated"),
        (
            exchanges(40, chars=lambda at: 20 + at * 50, compression=lambda at: expected_ratio(20 + at * 50)),
            -1e-9,
            1e-9,
            "length alone moves nothing",
        ),
        (exchanges(20, chars=900, compression=ABSENT), None, None, "not measured"),
        (exchanges(20, chars=0, compression=0.5), None, None, "no text"),
        (
            exchanges(20, chars=900, compression=expected_ratio(900), prompt=7),
            -1e-9,
            1e-9,
            "blind spot: the same prompt twenty times repeats nothing inside a prompt",
        ),
    ],
)
def test_compressibility(stream, low, high, why):
    assert within(last_score(Compressibility(), stream), low, high), why


def test_only_what_was_compressed_counts_as_length():
    # Two kibibytes of a prompt are compressed, so longer prompts have the ratio of those.
    assert expected_ratio(2048) == expected_ratio(8000)
