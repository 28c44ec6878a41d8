"""Compressibility: an account's prompts compress far better, or far worse, than text of their length does."""

from detectors.base import SHAPE_CAP, Plain, Spec
from detectors.observation import Observation
from detectors.primitives.moments import RunningMean


def expected_ratio(chars: int) -> float:
    """Compressed bytes per byte that ordinary text of `chars` characters has.

    Short texts hold no repetition to exploit, and no more than two kibibytes are compressed.
    0.31 + 3.8 / chars ** 0.4, fitted to the medians of 29,000 ordinary prompts of 8 to 8,000 characters.
    """
    return 0.31 + 3.8 / min(max(chars, 8), 2048) ** 0.4


class Compressibility:
    """Mean of each prompt's compression ratio less what its length leads to expect.

    Notes
    -----
    Score: ratio, signed. High: random words and identifiers. Low: boilerplate and repetition inside
    a prompt, as in few-shot frames.
    State: two numbers. Cost: O(1).
    Blind spots: repetition between prompts, which `template` sees.

    Examples
    --------
    >>> compressibility = Compressibility()
    >>> for _ in range(4):
    ...     compressibility.learn_one(Observation("a", "e", chars=1000, compression=0.7))
    >>> round(compressibility.score_one(), 2)
    0.15
    """

    __slots__ = ("_ratio",)

    spec = Spec(
        id="compressibility",
        version=2,
        high="high_entropy",
        low="templated_harvest",
        reads=("compression", "chars"),
        unit="compressed bytes per byte beyond the expected",
        cap=SHAPE_CAP,
    )

    def __init__(self) -> None:
        self._ratio = RunningMean()

    def score_one(self) -> float | None:
        """Mean excess; None before two prompts with text."""
        return self._ratio.get() if self._ratio.n >= 2 else None

    def learn_one(self, seen: Observation) -> None:
        """Take the exchange's excess; exchanges without text do not count."""
        ratio = seen.compression
        if ratio == ratio and seen.chars:  # noqa: PLR0124 - NaN, absent, is the one value unlike itself
            self._ratio.update(ratio - expected_ratio(seen.chars))

    def explain(self, score: float, typical: float) -> str:
        """One sentence with the numbers."""
        side = "worse" if score > typical else "better"
        return (
            f"Prompts compress {side} than is usual for their length: {score - typical:+.2f} compressed "
            "bytes per byte."
        )

    def snapshot(self) -> Plain:
        """Running mean."""
        return self._ratio.snapshot()

    def restore(self, state: Plain) -> None:
        """Replace the state by a snapshot's; raises `StateError`."""
        fresh = RunningMean()
        fresh.restore(state)
        self._ratio = fresh
