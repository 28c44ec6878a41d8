"""Published detectors of extraction, on the same observations as ours, for side-by-side evaluation.

Each reads what is kept of an exchange and nothing else, so a difference in results is a difference
in method and not in data. Where the original reads something else (images, a sentence encoder), its
statistic is computed on the sketch of the prompt, and the class says so. Scores are raw; the
threshold of each is to be set on ordinary accounts at the same false-alarm rate as ours.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from river import anomaly
from scipy import stats

from detectors.calibration import LOOKS
from detectors.observation import COVERAGE_BUCKETS, SKETCH_DIMENSIONS, Observation

HOUR_MS = 3_600_000

Floats = NDArray[np.floating[Any]]


class Baseline(Protocol):
    """One published detector: `name` for tables, `source` the publication.

    `fit` reads ordinary accounts. `scores` gives one finite number per element of `LOOKS` that the
    account reaches, from its first exchanges up to there; higher is more suspicious.
    """

    name: str
    source: str

    def fit(self, reference: Sequence[Sequence[Observation]]) -> None:
        """Learn from ordinary accounts; raises `ValueError` where there is too little to learn from."""
        ...

    def scores(self, account: Sequence[Observation]) -> list[float]:
        """Score at each look that the account reaches."""
        ...


def looks_reached(account: Sequence[Observation]) -> list[int]:
    """The counts of exchanges in `LOOKS` that an account has reached."""
    return [look for look in LOOKS if look <= len(account)]


def sketches(account: Sequence[Observation]) -> NDArray[np.float32]:
    """Sketches up to the last look, as float32 of shape (n, 64) and unit length; all zero without words."""
    packed = b"".join(seen.sketch for seen in account[: LOOKS[-1]])
    vectors = np.frombuffer(packed, np.int8).reshape(-1, SKETCH_DIMENSIONS).astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=vectors, where=lengths > 0)


def _earlier_cosines(vectors: NDArray[np.float32], memory: int) -> NDArray[np.float32]:
    """Cosines of each row's vector with those of the `memory` rows before it; elsewhere -1, shape (n, n)."""
    count = len(vectors)
    back = np.arange(count)[:, None] - np.arange(count)[None, :]
    return np.where((back > 0) & (back <= memory), vectors @ vectors.T, np.float32(-1))


class RateLimit:
    """The most requests in any hour so far. Count, >= 1. Needs no reference."""

    name = "rate limit"
    source = "common practice"

    def fit(self, reference: Sequence[Sequence[Observation]]) -> None:
        """Nothing to learn."""

    def scores(self, account: Sequence[Observation]) -> list[float]:
        """Largest count of requests within an hour, at each look."""
        times = np.array([seen.time_ms for seen in account[: LOOKS[-1]]], np.int64)
        found = []
        for look in looks_reached(account):
            ordered = np.sort(times[:look])
            before = np.searchsorted(ordered, ordered - HOUR_MS, side="right")
            found.append(float(np.max(np.arange(1, look + 1) - before)))
        return found


class UniquePrompts:
    """Distinct prompts so far. Count, >= 0; exchanges without a prompt are left out. Needs no reference."""

    name = "unique prompts"
    source = "common practice"

    def fit(self, reference: Sequence[Sequence[Observation]]) -> None:
        """Nothing to learn."""

    def scores(self, account: Sequence[Observation]) -> list[float]:
        """Count of distinct prompts, at each look."""
        return [float(len({seen.prompt for seen in account[:look]} - {0})) for look in looks_reached(account)]


class Prada:
    """Distances to the nearest earlier query that are not normally distributed [1]_. 1 - W, 0..1.

    W is the Shapiro-Wilk statistic of the distances within three standard deviations of their mean.
    Distances are Euclidean, between sketches. Two departures from the paper: a language model has no
    predicted class to sort queries by, so there is one; and every query is kept, where the paper keeps
    those farther away than a bound, to save memory. Distances that are all equal score 1.

    References
    ----------
    .. [1] M. Juuti, S. Szyller, S. Marchal, N. Asokan (2019), PRADA: Protecting against DNN Model
       Stealing Attacks, EuroS&P.
    """

    name = "PRADA"
    source = "Juuti et al., 2019"

    def fit(self, reference: Sequence[Sequence[Observation]]) -> None:
        """Nothing to learn."""

    def scores(self, account: Sequence[Observation]) -> list[float]:
        """1 - W of the distances, at each look."""
        looks = looks_reached(account)
        if not looks:
            return []
        nearest = _earlier_cosines(sketches(account), LOOKS[-1]).max(axis=1)[1:].astype(np.float64)
        # Float32 leaves cosines of equal sketches a few 1e-7 from 1; a sketch's own rounding is 1e-4.
        distances = np.sqrt(np.round(2 - 2 * np.clip(nearest, -1, 1), 5))
        return [self._abnormality(distances[: look - 1]) for look in looks]

    @staticmethod
    def _abnormality(distances: Floats) -> float:
        kept = distances[np.abs(distances - distances.mean()) <= 3 * distances.std() + 1e-12]
        # W is not defined for equal values, which are as far from a normal distribution as it gets.
        return float(1 - stats.shapiro(kept).statistic) if len(kept) >= 3 and np.ptp(kept) > 0 else 1.0


class Seat:
    """Share of prompts that are close to one of the account's recent 256 [1]_. 0..1.

    The paper's encoder is replaced by the sketch, its count of pairs by the share of prompts in one, so
    that accounts of different length compare. Close is a cosine distance that one pair in a hundred
    within ordinary accounts keeps below.

    References
    ----------
    .. [1] Z. Zhang, Y. Chen, D. Wagner (2021), SEAT: Similarity Encoder by Adversarial Training for
       Detecting Model Extraction Attack Queries, AISec.
    """

    name = "SEAT"
    source = "Zhang et al., 2021"
    memory = 256
    quantile = 0.01
    pairs_per_account = 2_000  # read of each, so that long accounts do not set the bound alone

    def __init__(self) -> None:
        self._bound: float | None = None

    def fit(self, reference: Sequence[Sequence[Observation]]) -> None:
        """Set the distance below which prompts are close."""
        pooled = []
        rng = np.random.default_rng(2021)
        for account in reference:
            count = min(len(account), LOOKS[-1])
            if count < 2:
                continue
            vectors = sketches(account)
            later = rng.integers(1, count, self.pairs_per_account)
            earlier = rng.integers(np.maximum(0, later - self.memory), later)
            pooled.append(1 - np.einsum("ij,ij->i", vectors[later], vectors[earlier]))
        if not pooled:
            raise ValueError(
                "SEAT: reference has no account of two exchanges or more; give ordinary accounts"
            )
        self._bound = float(np.quantile(np.concatenate(pooled), self.quantile))

    def scores(self, account: Sequence[Observation]) -> list[float]:
        """Share of prompts with a close earlier one, at each look."""
        if self._bound is None:
            raise ValueError("SEAT: fit it on ordinary accounts first")
        looks = looks_reached(account)
        if not looks:
            return []
        nearest = _earlier_cosines(sketches(account), self.memory).max(axis=1)
        # The margin is float32 rounding: without it, equal sketches may be on either side of a bound of 0.
        close = np.cumsum(1 - nearest <= self._bound + 1e-6)
        return [float(close[look - 1]) / look for look in looks]


class CoverageCost:
    """Cost of the share of topic buckets that an account has occupied, exponential in it [1]_. >= 0.

    The paper hashes an encoder's output into as many buckets; here they are the observation's. Its
    answer to a high cost is noise in what the account is served, of which there is none here.

    References
    ----------
    .. [1] J. Dubiński, S. Pawlak, F. Boenisch, T. Trzciński, A. Dziedzic (2023), Bucks for Buckets (B4B):
       Active Defenses Against Stealing Encoders, NeurIPS.
    """

    name = "coverage cost"
    source = "Dubiński et al., 2023"
    # lambda * (exp(ln(alpha / lambda) * share / beta) - 1). How fast it rises does not change the order of
    # accounts, so neither does it change what is detected at a given false-alarm rate.
    smallest = 1e-6  # lambda
    largest = 1.0  # alpha
    full = 0.8  # beta: share at which the cost is the largest

    def fit(self, reference: Sequence[Sequence[Observation]]) -> None:
        """Nothing to learn."""

    def scores(self, account: Sequence[Observation]) -> list[float]:
        """Cost of the occupied buckets, at each look."""
        steepness = math.log(self.largest / self.smallest) / self.full
        found = []
        for look in looks_reached(account):
            share = len({seen.bucket for seen in account[:look]}) / COVERAGE_BUCKETS
            found.append(self.smallest * math.expm1(steepness * share))
        return found


class MmdWindow:
    """Squared maximum mean discrepancy between an account and ordinary accounts [1]_. About 0 or above.

    The kernel is Gaussian with the median distance in the reference as its width, approximated by
    random Fourier features [2]_ of the sketches. The expected contribution of the window's own size is
    removed, so scores of ordinary accounts do not fall with length; they may be slightly negative.
    Reference accounts weigh the same whatever their length.

    References
    ----------
    .. [1] A. Gretton, K. Borgwardt, M. Rasch, B. Schölkopf, A. Smola (2012), A Kernel Two-Sample Test,
       JMLR 13.
    .. [2] A. Rahimi, B. Recht (2007), Random Features for Large-Scale Kernel Machines, NIPS.
    """

    name = "MMD window"
    source = "Gretton et al., 2012"
    features = 256
    sample = 1_000  # reference exchanges that the width is taken from

    def __init__(self) -> None:
        self._frequencies: Floats = np.zeros((SKETCH_DIMENSIONS, 0))
        self._reference: Floats = np.zeros(0)

    def fit(self, reference: Sequence[Sequence[Observation]]) -> None:
        """Choose the kernel's width, and average the features of the reference accounts."""
        vectors = [sketches(account) for account in reference if account]
        if not vectors:
            raise ValueError("MMD window: reference has no exchanges; give ordinary accounts")
        rng = np.random.default_rng(2012)
        drawn = _drawn_evenly(vectors, self.sample, rng)
        above = np.triu_indices(len(drawn), 1)
        distances = np.sqrt(np.clip(2 - 2 * (drawn @ drawn.T)[above], 0, None))
        width = float(np.median(distances)) if len(distances) else 0.0
        normal = rng.standard_normal((SKETCH_DIMENSIONS, self.features // 2), np.float32)
        # A reference of equal sketches has no width; theirs is one unit then.
        self._frequencies = normal / np.float32(width if width > 1e-3 else 1.0)
        self._reference = np.mean([self._mapped(each).mean(axis=0) for each in vectors], axis=0)

    def _mapped(self, vectors: NDArray[np.float32]) -> Floats:
        """Features of shape (n, 256); each row has unit length, as a vector's kernel with itself is 1."""
        angles = vectors @ self._frequencies
        return np.hstack((np.cos(angles), np.sin(angles))).astype(np.float64) / math.sqrt(self.features / 2)

    def scores(self, account: Sequence[Observation]) -> list[float]:
        """Unbiased squared discrepancy of the exchanges so far, at each look."""
        if not self._reference.size:
            raise ValueError("MMD window: fit it on ordinary accounts first")
        sums = np.cumsum(self._mapped(sketches(account)), axis=0)
        found = []
        for look in looks_reached(account):
            mean = sums[look - 1] / look
            within = (look * (mean @ mean) - 1) / (look - 1)  # without each exchange's kernel with itself
            found.append(float(within - 2 * (mean @ self._reference) + self._reference @ self._reference))
        return found


class HalfSpaceTrees:
    """Mean anomaly of an account's exchanges by half-space trees of the cohort [1]_. 0..1.

    River's implementation, on seven numbers about the form of the text: one model for all accounts,
    learned on up to 3,000 ordinary exchanges and then frozen. An account's first 48 exchanges are read
    and one in seven after them, which weighs as seven; all of them would change the mean little and
    take five times as long.

    References
    ----------
    .. [1] S. C. Tan, K. M. Ting, F. T. Liu (2011), Fast Anomaly Detection for Streaming Data, IJCAI.
    """

    name = "half-space trees"
    source = "Tan et al., 2011"
    sample = 3_000
    read_all, read_every = 48, 7  # 188 of 1,024

    def __init__(self) -> None:
        self._trees: Any = None
        self._low: Floats = np.zeros(0)
        self._span: Floats = np.zeros(0)
        self._typical: Floats = np.zeros(0)

    def fit(self, reference: Sequence[Sequence[Observation]]) -> None:
        """Learn the features' usual range and the trees."""
        accounts = [_form(account[: LOOKS[-1]]) for account in reference if account]
        if not accounts:
            raise ValueError("half-space trees: reference has no exchanges; give ordinary accounts")
        drawn = _drawn_evenly(accounts, self.sample, np.random.default_rng(2011))
        # A feature that no exchange carries has no range; zero stands for all of it.
        drawn[:, np.isnan(drawn).all(axis=0)] = 0.0
        low, typical, high = np.nanquantile(drawn, (0.01, 0.5, 0.99), axis=0)
        self._low, self._typical, self._span = low, typical, np.maximum(high - low, 1e-6)
        # One window over the whole sample: River scores by the last full window only.
        self._trees = anomaly.HalfSpaceTrees(n_trees=25, height=8, window_size=len(drawn), seed=2011)
        for row in self._scaled(drawn):
            self._trees.learn_one(dict(enumerate(row)))

    def _scaled(self, form: Floats) -> list[list[float]]:
        """The usual range as 0.25..0.75, so that trees have room for what is outside it; the rest is cut."""
        known = np.where(np.isnan(form), self._typical, form)
        scaled: list[list[float]] = np.clip(0.25 + (known - self._low) / self._span / 2, 0, 1).tolist()
        return scaled

    def scores(self, account: Sequence[Observation]) -> list[float]:
        """Mean anomaly score of the exchanges so far, at each look."""
        if self._trees is None:
            raise ValueError("half-space trees: fit them on ordinary accounts first")
        looks = looks_reached(account)
        if not looks:
            return []
        at = np.arange(looks[-1])
        at = at[(at < self.read_all) | ((at - self.read_all) % self.read_every == 0)]
        rows = self._scaled(_form([account[place] for place in at]))
        found = np.array([self._trees.score_one(dict(enumerate(row))) for row in rows])
        weights = np.where(at < self.read_all, 1.0, float(self.read_every))
        means = np.cumsum(found * weights) / np.cumsum(weights)
        return [float(means[np.searchsorted(at, look) - 1]) for look in looks]


class TwoSided:
    """Another baseline read in both directions: too high or too low for an account of that length.

    Score: how far the baseline's score is from the median of ordinary accounts at the same look, by
    rank, 0..0.5. Outside all of them, the distance from the nearest in widths of their range is added,
    so that scores do not tie there. Looks that fewer than ten of them reach repeat the score before.
    """

    fewest = 10

    def __init__(self, baseline: Baseline) -> None:
        self.name = f"{baseline.name}, two-sided"
        self.source = baseline.source
        self._baseline = baseline
        self._ordinary: list[Floats] = []

    def fit(self, reference: Sequence[Sequence[Observation]]) -> None:
        """Fit the baseline, and keep its scores of ordinary accounts, sorted, per look."""
        self._baseline.fit(reference)
        given = [self._baseline.scores(account) for account in reference]
        ordinary = [np.sort([each[at] for each in given if len(each) > at]) for at in range(len(LOOKS))]
        if len(ordinary[0]) < self.fewest:
            raise ValueError(
                f"{self.name}: {len(ordinary[0])} reference accounts have {LOOKS[0]} exchanges; "
                f"give at least {self.fewest}"
            )
        self._ordinary = ordinary

    def scores(self, account: Sequence[Observation]) -> list[float]:
        """Distance from ordinary accounts in either direction, at each look."""
        if not self._ordinary:
            raise ValueError(f"{self.name}: fit it on ordinary accounts first")
        found: list[float] = []
        for score, ordinary in zip(self._baseline.scores(account), self._ordinary, strict=False):
            enough = len(ordinary) >= self.fewest
            found.append(self._deviation(score, ordinary) if enough else found[-1])
        return found

    @staticmethod
    def _deviation(score: float, ordinary: Floats) -> float:
        below, to = np.searchsorted(ordinary, score, "left"), np.searchsorted(ordinary, score, "right")
        rank = abs((below + to) / 2 / len(ordinary) - 0.5)
        outside = max(ordinary[0] - score, score - ordinary[-1], 0.0)
        width = ordinary[-1] - ordinary[0]
        return float(rank + outside / (width if width > 0 else 1.0))


def _drawn_evenly(accounts: Sequence[NDArray[Any]], most: int, rng: np.random.Generator) -> NDArray[Any]:
    """Rows of all accounts in random order, at most `most`, as many from long accounts as from short ones."""
    share = max(1, most // len(accounts))
    drawn = np.concatenate([rows[rng.permutation(len(rows))[:share]] for rows in accounts])
    return drawn[rng.permutation(len(drawn))[:most]]


def _form(account: Sequence[Observation]) -> Floats:
    """Form of the text of each exchange, shape (n, 7); NaN where the event did not carry it."""
    return np.array(
        [
            (
                math.log1p(seen.chars),  # lengths differ by orders of magnitude
                seen.entropy,
                seen.compression,
                seen.digits,
                seen.capitals,
                seen.symbols,
                seen.newlines,
            )
            for seen in account
        ]
    )


BASELINES: tuple[Callable[[], Baseline], ...] = (
    RateLimit,
    UniquePrompts,
    lambda: TwoSided(Prada()),
    Seat,
    lambda: TwoSided(CoverageCost()),
    MmdWindow,
    HalfSpaceTrees,
)
"""Makers of every baseline, unfitted. Statistics that attacks move either way are read two-sided."""
