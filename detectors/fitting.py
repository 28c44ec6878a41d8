"""Fits a profile: reference accounts in, tables out, a pure function to the last digit written."""

import dataclasses
import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from detectors.base import Spec
from detectors.calibration import (
    EVER_LEVELS,
    FORMAT,
    LEVELS,
    LOOKS,
    DetectorTables,
    EverTable,
    Profile,
    Provenance,
    Shares,
    Table,
    Tail,
    evidence_of,
    placed,
    rarity,
)
from detectors.catalog.benchmark import Benchmark
from detectors.catalog.elicitation import Elicitation
from detectors.catalog.probing import Probing
from detectors.catalog.purpose import LEAST, Purpose
from detectors.errors import require
from detectors.observation import Observation
from detectors.observe.purpose import NO_PURPOSES, PurposeModel
from detectors.primitives.families import FamilyShares
from detectors.primitives.said import PromptCells
from detectors.registry import ENTRIES, Ceilings, learn, make_all

_AS_IT_IS = Tail(tuple(-math.log10(1.0 - level) for level in LEVELS), 1.0 / math.log(10.0))
_PURPOSE = [entry.spec.id for entry in ENTRIES].index(Purpose.spec.id)
_ENOUGH_FOR_SHARES = 32
_HARDLY_ANY = 0.998
_DIGITS = 6  # significant digits that are written, so that a fit is the same on every machine
_FEWEST = 20  # accounts at a look, below which 5 % tails mean nothing
_MOST_OF_A_SOURCE = 0.95
_FARTHEST_AHEAD = 1.0  # of a mean log-likelihood ratio
_LOWEST = 10.0  # stands for accounts without any text that was read
_GRAIN = 0.25  # of evidence, in powers of ten: less than this is below what tables resolve


@dataclasses.dataclass(frozen=True, slots=True)
class Trajectory:
    """Raw scores of one reference account.

    Parameters
    ----------
    group : str
        Kind of account: accounts of one group are left out together to learn by which statistics a
        *new* kind of account looks strange.
    scores : sequence of sequences
        Per look reached, the detectors' scores in the registry's order; None where one abstains.
    """

    group: str
    scores: Sequence[Sequence[float | None]]


def ceilings(accounts: Iterable[Iterable[Observation]]) -> Ceilings:
    """Shares of exchanges with each mark and facet that one account in 500 exceeds.

    Parameters
    ----------
    accounts : iterable of iterables of Observation
        Ordinary accounts; those of less than 32 exchanges, or of less than
        32 different prompts where it is of them, do not count, their shares are too coarse.

    Raises
    ------
    ConfigError
        No account is long enough.
    """
    shares: dict[str, list[tuple[float, ...]]] = {"elicitation": [], "benchmark": [], "probing": []}
    for observations in accounts:
        detectors: dict[str, FamilyShares | Probing] = {
            "elicitation": Elicitation(),
            "benchmark": Benchmark(),
            "probing": Probing(),
        }
        said = PromptCells()
        for seen in observations:
            learn(detectors.values(), seen, said)
        for name, detector in detectors.items():
            if detector.n >= _ENOUGH_FOR_SHARES:
                shares[name].append(detector.shares())
    require(
        all(shares.values()), f"fit: no account has {_ENOUGH_FOR_SHARES} exchanges with different prompts"
    )
    elicitation, benchmark, probing = (
        tuple(map(_ceiling, zip(*shares[name], strict=True)))
        for name in ("elicitation", "benchmark", "probing")
    )
    return Ceilings(elicitation, benchmark, probing)


def _ceiling(shares: Sequence[float]) -> float:
    """Never below one in twenty: a smaller share is what chance does to an account of some 30 exchanges."""
    return _rounded(max(float(np.quantile(shares, _HARDLY_ANY)), 0.05))


def purpose_reach(observations: Iterable[Observation], kinds: int) -> tuple[float, ...]:
    """Largest mean log-likelihood ratio of each kind that an account ever shows at a look."""
    detector, said, most = Purpose(), PromptCells(), (-math.inf,) * kinds
    for n, seen in enumerate(itertools.islice(observations, LOOKS[-1]), start=1):
        learn((detector,), seen, said)
        if n in LOOKS and detector.score_one() is not None:
            most = tuple(map(max, most, detector.means()))
    return most


def purpose_limits(reached: Mapping[str, Sequence[Sequence[float]]], kinds: int) -> tuple[float, ...]:
    """Means that ordinary accounts stay below, also those of a source that is not known yet.

    Per kind, the 95 % quantile over the accounts of each source, and of these the largest plus its
    distance to the second largest: where one source is far ahead of the others, the next may be as
    far ahead of it (Robson and Whitlock, Estimation of a truncation point, 1964). The distance counts
    for one unit at most, and no limit is below `LEAST`.

    Parameters
    ----------
    reached : mapping of str to sequence of sequence of float
        By source, `purpose_reach` of its accounts, read with weights that were learned without it.
    kinds : int
    """
    if not kinds:
        return ()
    by_source = [
        np.quantile(np.maximum(np.array(accounts), -_LOWEST), _MOST_OF_A_SOURCE, axis=0)
        for _, accounts in sorted(reached.items())
        if len(accounts)
    ]
    require(len(by_source) > 1, "fit: limits of purposes need ordinary accounts of at least two sources")
    ordered = np.sort(np.array(by_source), axis=0)
    limits = ordered[-1] + np.minimum(ordered[-1] - ordered[-2], _FARTHEST_AHEAD)
    return tuple(_rounded(max(float(limit), LEAST)) for limit in limits)


def trajectory(group: str, observations: Iterable[Observation], limits: Ceilings) -> Trajectory:
    """Raw scores of one account at every look it reaches within its first window."""
    detectors, said, scores = make_all(limits), PromptCells(), []
    for n, seen in enumerate(itertools.islice(observations, LOOKS[-1]), start=1):
        learn(detectors, seen, said)
        if n in LOOKS:
            scores.append([detector.score_one() for detector in detectors])
    return Trajectory(group, scores)


def fit(
    reference: Sequence[Trajectory],
    limits: Ceilings,
    *,
    version: str,
    provenance: Provenance,
    purposes: PurposeModel = NO_PURPOSES,
    base: Profile | None = None,
) -> Profile:
    """The profile of reference accounts: a function of its arguments alone.

    Accounts that end early count at the looks they reached. The share of accounts that *ever* reach
    some evidence is therefore a product-limit estimate (Kaplan and Meier, 1958): at each look, of the
    accounts still there that have not reached it before, the share that reach it now. Short accounts
    neither dilute nor inflate it, and it speaks of an account that uses a whole window.

    The statement is about the kinds of accounts in the reference. For other kinds it holds as far as
    leaving kinds out has taken weight from the statistics in which kinds differ.

    Parameters
    ----------
    reference : sequence of Trajectory
        Ordinary accounts, at least 20 at every look.
    limits : Ceilings
        With which the detectors of the trajectories were made.
    version : str
        Named on alerts.
    provenance : Provenance
        What the accounts were made of.
    purposes : PurposeModel, optional
        With which texts will be read.
    base : Profile, optional
        Gives the tables of looks that fewer than 20 accounts reach. The evidence that accounts ever reach is
        then no less than the base's, because nobody here was seen to use a whole window.

    Raises
    ------
    ConfigError
        Too few accounts at a look.
    """
    scores = _array(reference, base)
    borrowed = () if base is None else tuple(np.flatnonzero(_reached(scores).sum(axis=0) < _FEWEST).tolist())
    groups = np.array([trajectory.group for trajectory in reference])
    tables = _tables(scores, borrowed, base)
    surprises = np.full(scores.shape, np.nan)
    for group in sorted(set(groups.tolist())):
        member = groups == group
        rest = scores[~member]
        others = _tables(rest, borrowed, base) if _enough(rest, borrowed) else tables
        for account in np.flatnonzero(member):
            surprises[account] = _surprises(others, scores[account])
    tails = _tails(surprises)
    # Its scores are those of accounts whose source was left out already, of weights and of limits.
    tails[_PURPOSE] = _AS_IT_IS
    evidence = np.array([_evidence(tails, _surprises(tables, account)) for account in scores])
    return Profile(
        format=FORMAT,
        version=version,
        looks=LOOKS,
        levels=LEVELS,
        ever_levels=EVER_LEVELS,
        ceilings=Shares(
            limits.elicitation or (), limits.benchmark or (), limits.probing or (), limits.purpose or ()
        ),
        purposes=purposes,
        detectors={
            entry.spec.id: DetectorTables(entry.spec.version, looks, tail)
            for entry, looks, tail in zip(ENTRIES, tables, tails, strict=True)
        },
        ever=_ever(evidence) if base is None or not borrowed else _larger(_ever(evidence), base.ever),
        provenance=provenance,
    )


def _larger(one: EverTable, other: EverTable) -> EverTable:
    evidence = tuple(map(max, one.evidence, other.evidence))
    return EverTable(one.accounts, evidence, max(one.scale, other.scale))


def _array(reference: Sequence[Trajectory], base: Profile | None) -> Any:
    """Scores, shape (accounts, looks, detectors); NaN where not reached or abstained."""
    scores = np.full((len(reference), len(LOOKS), len(ENTRIES)), np.nan)
    for account, trajectory in enumerate(reference):
        for look, row in enumerate(trajectory.scores):
            scores[account, look] = [np.nan if score is None else score for score in row]
    require(
        base is not None or _enough(scores),
        f"fit: at least {_FEWEST} accounts must reach the look at {LOOKS[-1]} exchanges",
    )
    return scores


def _reached(scores: Any) -> Any:
    return ~np.isnan(scores).all(axis=2)


def _enough(scores: Any, but: Collection[int] = ()) -> bool:
    """Whether enough accounts reach every look but some."""
    own = [look for look in range(len(LOOKS)) if look not in but]
    return len(scores) > 0 and bool(own) and int(_reached(scores)[:, own].sum(axis=0).min()) >= _FEWEST


def _tables(
    scores: Any, borrowed: Collection[int] = (), base: Profile | None = None
) -> list[tuple[Table, ...]]:
    """Tables by detector (registry order) and look; those of some looks are the base's."""
    return [
        tuple(
            base.detectors[entry.spec.id].looks[look]
            if base is not None and look in borrowed
            else _table(entry.spec, scores[:, look, column])
            for look in range(len(LOOKS))
        )
        for column, entry in enumerate(ENTRIES)
    ]


def _table(spec: Spec, scores: Any) -> Table:
    known = scores[~np.isnan(scores)]
    if not len(known):
        return Table(0, (0.0,) * len(LEVELS), spec.grain, spec.grain)
    quantiles = tuple(_rounded(float(q)) for q in np.quantile(known, LEVELS))
    low = _scale(quantiles[0] - known, spec.grain)
    high = _scale(known - quantiles[-1], spec.grain)
    return Table(len(known), quantiles, low, high)


def _scale(beyond: Any, grain: float) -> float:
    """Scale of an exponential tail, from how far each score lies beyond the tail's start.

    The larger of the mean excess and of what makes the farthest score as rare as it is in the
    reference, one in `accounts`: a few far outliers must not look impossible.
    """
    excess = beyond[beyond > 0]
    if not len(excess):
        return grain
    farthest = float(excess.max()) / math.log(max((1.0 - LEVELS[-1]) * (len(beyond) + 1), math.e))
    return _rounded(max(float(excess.mean()), farthest, grain))


def _surprises(tables: Sequence[tuple[Table, ...]], scores: Any) -> Any:
    """Surprises of one account, shape (looks, detectors), by the tables of other kinds of accounts."""
    found = np.full(scores.shape, np.nan)
    for look, row in enumerate(scores.tolist()):
        for column, (entry, score) in enumerate(zip(ENTRIES, row, strict=True)):
            if not math.isnan(score):
                found[look, column] = placed(entry.spec, tables[column][look], score)[0]
    return found


def _tails(surprises: Any) -> list[Tail]:
    """Per detector, how surprising accounts of a kind that was left out are, over all looks together."""
    tails = []
    for column in range(len(ENTRIES)):
        known = surprises[:, :, column][~np.isnan(surprises[:, :, column])]
        if not len(known):
            tails.append(_AS_IT_IS)
            continue
        quantiles = tuple(_rounded(float(q)) for q in np.quantile(known, LEVELS))
        tails.append(Tail(quantiles, _scale(known - quantiles[-1], _GRAIN)))
    return tails


def _evidence(tails: Sequence[Tail], surprises: Any) -> list[float]:
    """Evidence of one account at each look; NaN where not reached."""
    found = []
    for row in surprises.tolist():
        weights = [
            min(rarity(tail, surprise), entry.spec.cap)
            for entry, tail, surprise in zip(ENTRIES, tails, row, strict=True)
            if not math.isnan(surprise)
        ]
        found.append(evidence_of(weights) if weights else math.nan)
    return found


def _ever(evidence: Any) -> EverTable:
    """Product-limit distribution of the largest evidence over a whole window."""
    there = ~np.isnan(evidence)
    values = np.unique(evidence[there])  # sorted
    most = np.maximum.accumulate(np.where(there, evidence, -np.inf), axis=1)
    before = np.concatenate((np.full((len(evidence), 1), -np.inf), most[:, :-1]), axis=1)
    kept = np.ones(len(values))
    for look in range(evidence.shape[1]):
        now, past = evidence[there[:, look], look], before[there[:, look], look]
        # At risk of reaching v now: not reached it before. Reaching it: now >= v > past.
        at_risk = np.searchsorted(np.sort(past), values, side="left")
        news = now > past
        reach = np.searchsorted(np.sort(past[news]), values, "left") - np.searchsorted(
            np.sort(now[news]), values, "left"
        )
        kept *= 1.0 - np.divide(reach, at_risk, out=np.zeros(len(values)), where=at_risk > 0)
    share = 1.0 - kept  # of accounts that ever reach at least `values`; falls from about 1
    tabled = tuple(
        _rounded(
            float(values[int(np.flatnonzero(share <= level)[0])]) if (share <= level).any() else values[-1]
        )
        for level in EVER_LEVELS
    )
    start = tabled[-1]
    beyond = share[values > start]
    far = values[values > start]
    # The exponential that lies above every point of the far tail, down to single accounts. Nearer
    # than a factor of e from where the tail starts, a single account would decide the slope.
    scale = max(
        (
            float((v - start) / math.log(EVER_LEVELS[-1] / s))
            for v, s in zip(far, beyond, strict=True)
            if 0 < s < EVER_LEVELS[-1] / math.e
        ),
        default=_GRAIN,
    )
    return EverTable(len(evidence), tabled, _rounded(max(scale, _GRAIN)))


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
