"""Coverage: what counts as spreading over topics, and what it cannot see."""

import pytest

from detectors.catalog.coverage import Coverage
from tests.detectors.streams_of_exchanges import exchanges, last_score, within


@pytest.mark.parametrize(
    ("stream", "low", "high", "why"),
    [
        (exchanges(64, bucket=lambda at: at * 60), 1.0, 1.0, "every exchange opens a topic"),
        (exchanges(64, bucket=7), 1 / 64, 1 / 64, "one topic only"),
        (exchanges(64, bucket=lambda at: at % 16), 0.25, 0.25, "sixteen topics, each four times"),
        (exchanges(64, bucket=lambda at: at * 60, chars=0), None, None, "no text, no topic"),
        (exchanges(8, bucket=lambda at: at), 1.0, 1.0, "blind spot: any short account looks broad"),
        (
            exchanges(200, bucket=lambda at: (at * at) % 50),
            0.0,
            0.25,
            "blind spot: an attack on the topics of people covers what people cover",
        ),
    ],
)
def test_coverage(stream, low, high, why):
    assert within(last_score(Coverage(), stream), low, high), why


def test_the_explanation_has_the_share_of_lone_topics():
    coverage = Coverage()
    last_score(coverage, exchanges(10, bucket=lambda at: 0 if at < 5 else at))
    assert "50% of the exchanges were the only one on their topic" in coverage.explain(0.6, 0.3)
