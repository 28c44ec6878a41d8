"""Template: one frame with ever new content, and what it cannot see."""

import pytest

from detectors.catalog.template import Template
from tests.detectors.streams_of_exchanges import exchanges, last_score, within


def free(at):
    """A frame that no other exchange has."""
    return 1000 + at


@pytest.mark.parametrize(
    ("stream", "low", "high", "why"),
    [
        (exchanges(64, prefix=5, suffix=free, layout=free), 0.95, 1.0, "one beginning, new content"),
        (exchanges(64, prefix=free, suffix=5, layout=free), 0.95, 1.0, "one ending, new content"),
        (exchanges(64, prefix=free, suffix=free, layout=free), 0.0, 0.2, "no frame"),
        (exchanges(64, prefix=5, suffix=5, layout=5, prompt=9), 0.0, 0.05, "a loop that repeats one prompt"),
        (
            exchanges(64, prefix=lambda at: 5 if at % 2 else free(at), suffix=free, layout=free),
            0.45,
            0.6,
            "a frame in every other prompt",
        ),
        (exchanges(64, prompt=0), None, None, "no text"),
        (exchanges(1, prefix=5), None, None, "one prompt is no template"),
        (
            exchanges(64, prefix=lambda at: at % 32, suffix=lambda at: at % 32, layout=lambda at: at % 32),
            0.0,
            0.2,
            "blind spot: frames drawn from a large pool",
        ),
    ],
)
def test_template(stream, low, high, why):
    assert within(last_score(Template(), stream), low, high), why
