"""Benchmark: an account sends test items, one after the other, as a sweep through a question set does."""

from collections.abc import Sequence

from detectors.base import Plain, Spec
from detectors.observation import Observation
from detectors.observe.marks import MARKS
from detectors.primitives import plain
from detectors.primitives.likelihood import MarkLikelihoods, odds

FAMILIES = ("benchmark_item", "worked_solution")
"""Families of phrases that stand in test items and around them."""

DEFAULT_RATES = (0.01,) * len(FAMILIES)

_BITS = tuple(1 << MARKS.index(family) for family in FAMILIES)
_MASK = sum(_BITS)


class Benchmark:
    """Log-likelihood ratio of test items against the share of them in ordinary use.

    Parameters
    ----------
    base_rates : sequence of float
        Share of ordinary exchanges with each of `FAMILIES`, in that order; in [0, 1].

    Notes
    -----
    Score: nats, >= 0, the sum over families of a one-sided CUSUM, so that a campaign that starts in
    mid-window counts in full. State: 15 bytes per family seen. Cost: one test for unmarked prompts.
    Blind spots: items without a frame of their own, such as plain word problems; frames in other
    languages. People who evaluate models send the same items: see the runbook of `benchmark_sweep`.

    Examples
    --------
    >>> from detectors.observe.marks import MARKS
    >>> item = 1 << MARKS.index("benchmark_item")
    >>> benchmark = Benchmark(base_rates=[0.01] * len(FAMILIES))
    >>> for _ in range(4):
    ...     benchmark.learn_one(Observation("a", "e", chars=20, marks=item))
    >>> round(benchmark.score_one(), 1)
    12.0
    """

    __slots__ = ("_likelihoods", "_odds")

    spec = Spec(
        id="benchmark",
        version=1,
        high="benchmark_sweep",
        reads=("marks",),
        unit="log-likelihood ratio, nats",
        grain=1.0,  # a ratio of e**x has, under the base rates, a chance of at most e**-x
    )

    def __init__(self, *, base_rates: Sequence[float] = DEFAULT_RATES) -> None:
        self._odds = odds(tuple(base_rates))
        self._likelihoods = MarkLikelihoods(self._odds)

    def score_one(self) -> float | None:
        """Sum over families; None before the first exchange with text."""
        return sum(found[0] for found in self._likelihoods.sums()) if self._likelihoods.n else None

    def learn_one(self, seen: Observation) -> None:
        """Count the marks of an exchange that has text."""
        if seen.chars:
            marks = seen.marks & _MASK
            self._likelihoods.update(_of_families(marks) if marks else 0)

    def shares(self) -> tuple[float, ...]:
        """Share of exchanges with each of `FAMILIES`, for fitting base rates."""
        return self._likelihoods.shares()

    def explain(self, score: float, typical: float) -> str:
        """One sentence with the numbers."""
        found = self._likelihoods.sums()
        if not found:
            return "No family of test-item phrases is more frequent than in ordinary use."
        parts = [f"'{FAMILIES[mark]}' in {hits}" for _, mark, hits in found[:3]]
        return (
            f"Test-item phrases of the families {', '.join(parts)} of {self._likelihoods.n} prompts, "
            f"far more often than in ordinary use (evidence {score:.1f} nats, usually {typical:.1f})."
        )

    def snapshot(self) -> Plain:
        """The likelihood ratios."""
        return self._likelihoods.snapshot()

    def restore(self, state: Plain) -> None:
        """Replace the state by a snapshot's; raises `StateError`."""
        fresh = MarkLikelihoods(self._odds)
        fresh.restore(plain.fields(state, 2, "benchmark"))
        self._likelihoods = fresh


def _of_families(marks: int) -> int:
    """Bits by place in `FAMILIES` of bits by place in `MARKS`."""
    return sum(1 << place for place, bit in enumerate(_BITS) if marks & bit)
