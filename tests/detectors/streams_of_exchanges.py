"""Short streams of observations for detector tables, and the scores they give."""

from detectors.base import learn_then_score
from detectors.checks import mark
from detectors.observation import VOCABULARY_SAMPLE, Observation

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def exchanges(count, **fields):
    """`count` exchanges; a field given as a function gets the exchange's place, others stay the same."""
    return [
        Observation(
            "a",
            f"e{at}",
            **{
                "order_ms": at * MINUTE,
                "chars": 60,
                "words": 10,
                "prompt": at + 1,
                **{name: value(at) if callable(value) else value for name, value in fields.items()},
            },
        )
        for at in range(count)
    ]


def last_score(detector, stream):
    """Score after the last exchange; None where the detector abstains."""
    score = None
    for seen in stream:
        score = learn_then_score(detector, seen)
    return score


def sample(*words):
    """A sample of words in an observation's encoding."""
    return b"".join(word.to_bytes(2, "little") for word in words).ljust(2 * VOCABULARY_SAMPLE, b"\0")


def within(score, low, high):
    """Whether a score is in a range; None stands for an abstention that is expected."""
    return score is None if low is None else score is not None and low <= score <= high


__all__ = ["DAY", "HOUR", "MINUTE", "exchanges", "last_score", "mark", "sample", "within"]
