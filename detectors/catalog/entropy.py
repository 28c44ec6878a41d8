"""Entropy: bytes of an account's prompts are more, or less, evenly spread than those of text as long."""

import math

from detectors.base import SHAPE_CAP, Plain, Spec
from detectors.observation import Observation
from detectors.primitives.moments import RunningVariance


def expected_bits(chars: int) -> float:
    """Bits per byte that ordinary text of `chars` characters has: short texts cannot use many bytes.

    4.8 - 5.9 / chars ** 0.49, fitted to the medians of 29,000 ordinary prompts of 8 to 8,000 characters.
    """
    return 4.8 - 5.9 / max(chars, 8) ** 0.49


class Entropy:
    """Mean of each prompt's byte entropy less what its length leads to expect.

    Notes
    -----
    Score: bits per byte, signed. High: random words, identifiers, mixed scripts. Low: few different
    characters, as in repeated strings. Prompts in scripts of several bytes per character sit higher;
    the reference contains such accounts.
    State: three numbers. Cost: O(1).
    Blind spots: nonsense made of real words has the entropy of text.

    Examples
    --------
    >>> entropy = Entropy()
    >>> for _ in range(4):
    ...     entropy.learn_one(Observation("a", "e", chars=1000, entropy=4.9))
    >>> round(entropy.score_one(), 2)
    0.3
    """

    __slots__ = ("_bits",)

    spec = Spec(
        id="entropy",
        version=2,
        high="high_entropy",
        low="templated_harvest",
        reads=("entropy", "chars"),
        unit="bits per byte beyond the expected",
        cap=SHAPE_CAP,
    )

    def __init__(self) -> None:
        self._bits = RunningVariance()

    def score_one(self) -> float | None:
        """Mean excess; None before two prompts with text."""
        return self._bits.mean.get() if self._bits.n >= 2 else None

    def learn_one(self, seen: Observation) -> None:
        """Take the exchange's excess; exchanges without text do not count."""
        bits = seen.entropy
        if bits == bits and seen.chars:  # noqa: PLR0124 - NaN, absent, is the one value unlike itself
            self._bits.update(bits - expected_bits(seen.chars))

    def explain(self, score: float, typical: float) -> str:
        """One sentence with the numbers."""
        side = "more evenly spread" if score > typical else "more repetitive"
        return (
            f"Characters are {abs(score - typical):.2f} bits per byte {side} than is usual for prompts "
            f"of this length (spread between prompts {math.sqrt(self._bits.get()):.2f})."
        )

    def snapshot(self) -> Plain:
        """Running mean and variance."""
        return self._bits.snapshot()

    def restore(self, state: Plain) -> None:
        """Replace the state by a snapshot's; raises `StateError`."""
        fresh = RunningVariance()
        fresh.restore(state)
        self._bits = fresh
