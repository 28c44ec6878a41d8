"""Probing: parameters and repeats that read out probabilities, and what it cannot see."""

import pytest

from detectors.catalog.probing import Probing
from detectors.observation import FLAG_LOGIT_BIAS, FLAG_LOGPROBS
from tests.detectors.streams_of_exchanges import exchanges, last_score, within


@pytest.mark.parametrize(
    ("stream", "low", "high", "why"),
    [
        (exchanges(64, temperature=0.7, max_tokens=500), 0.0, 0.0, "ordinary requests"),
        (
            exchanges(64, flags=FLAG_LOGIT_BIAS, logit_bias=lambda at: at + 1),
            15,
            17,
            "a sweep through biased tokens",
        ),
        (exchanges(64, flags=FLAG_LOGIT_BIAS, logit_bias=5), 15, 17, "tokens biased in every request"),
        (exchanges(64, max_tokens=1), 7, 9, "one token of output"),
        (exchanges(64, max_tokens=0), 7, 9, "no output at all"),
        (exchanges(64, flags=FLAG_LOGPROBS), 1.5, 1.7, "log-probabilities, which some products want"),
        (exchanges(64, top_logprobs=5), 1.5, 1.7, "log-probabilities, asked for by number only"),
        (exchanges(64, choices=4), 3.9, 4.1, "several choices per prompt"),
        (exchanges(64, prompt=3, temperature=0.5), 1.5, 1.7, "one prompt again and again"),
        (
            exchanges(64, prompt=3, temperature=lambda at: at % 8 / 4),
            7.7,
            8.0,
            "one prompt at changing temperatures",
        ),
        (exchanges(64, temperature=lambda at: at % 8 / 4), 1.5, 1.7, "changing temperatures, new prompts"),
        (exchanges(64, temperature=float("inf"), top_p=-1.0), 0.0, 0.0, "nonsense values are absent ones"),
        (exchanges(64), 0.0, 0.0, "a bus that carries no parameters leaves the repeats"),
        (exchanges(64, prompt=0, chars=0), None, None, "neither text nor parameters"),
        (
            exchanges(64, prompt=lambda at: at % 17 + 1),
            0.0,
            0.0,
            "blind spot: a cycle of more prompts than are remembered",
        ),
    ],
)
def test_probing(stream, low, high, why):
    assert within(last_score(Probing(), stream), low, high), why
