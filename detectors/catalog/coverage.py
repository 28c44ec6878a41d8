"""Coverage: an account spreads over far more topics, or far fewer, than others after as many exchanges."""

from detectors.base import SHAPE_CAP, Plain, Spec
from detectors.errors import StateError
from detectors.observation import COVERAGE_BUCKETS, Observation
from detectors.primitives import plain
from detectors.primitives.counters import BucketCounters


class Coverage:
    """Share of exchanges that opened a new topic, a topic being a locality-sensitive bucket of the text.

    Notes
    -----
    Score: distinct buckets per exchange, in (0, 1]. It falls as an account ages, so it is only ever
    compared at equal counts. Both tails matter: in the query sets published with [1]_ extraction
    covers less than ordinary use more often than more, because it drills one capability, while
    surveys of what a model can do [2]_ cover more.
    State: 0.7 KiB at most in a window of 1,024 exchanges. Cost: O(1).
    Blind spots: an extraction that asks about as many things as people do; a topic mix copied from
    real users; accounts so short that every exchange is a new topic.

    References
    ----------
    .. [1] arXiv 2606.05725. .. [2] A. Dubinski et al. (2023), Bucks for Buckets, arXiv 2310.08571.

    Examples
    --------
    >>> coverage = Coverage()
    >>> for bucket in (7, 7, 8, 9):
    ...     coverage.learn_one(Observation("a", "e", bucket=bucket, chars=20))
    >>> coverage.score_one()
    0.75
    """

    __slots__ = ("_counters", "_n")

    spec = Spec(
        id="coverage",
        version=1,
        high="coverage_seeking",
        low="templated_harvest",
        reads=("bucket",),
        unit="new topics per exchange",
        cap=SHAPE_CAP,
    )

    def __init__(self) -> None:
        self._counters = BucketCounters(COVERAGE_BUCKETS)
        self._n = 0

    def score_one(self) -> float | None:
        """Distinct topics per exchange; None before the first exchange with text."""
        return self._counters.distinct / self._n if self._n else None

    def learn_one(self, seen: Observation) -> None:
        """Count the bucket of an exchange that has text."""
        if seen.chars:
            self._n += 1
            self._counters.add(seen.bucket)

    def explain(self, score: float, typical: float) -> str:
        """One sentence with the numbers."""
        unseen = self._counters.once / self._n if self._n else 0.0
        return (
            f"{score:.0%} of the exchanges opened a topic new to the account, against {typical:.0%} usually "
            f"after as many; {unseen:.0%} of the exchanges were the only one on their topic."
        )

    def snapshot(self) -> Plain:
        """Exchanges and counters."""
        return [self._n, self._counters.snapshot()]

    def restore(self, state: Plain) -> None:
        """Replace the state by a snapshot's; raises `StateError`."""
        n, counters = plain.fields(state, 2, "coverage")
        n = plain.integer(n, 0, plain.MOST_EVENTS, "coverage.n")
        fresh = BucketCounters(COVERAGE_BUCKETS)
        fresh.restore(counters)
        if fresh.distinct > n:
            raise StateError(f"coverage: {fresh.distinct} topics in {n} exchanges")
        self._n, self._counters = n, fresh
