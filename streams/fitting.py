"""Fits a profile to an operator's own recorded traffic: its ordinary accounts in place of ours.

What prompts are for is read with the weights of a base profile, because an operator has no labelled
query sets; tables, shares and the combination of evidence are the operator's own.
"""

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import xxhash

from detectors.calibration import LOOKS, Profile, Provenance, Source, evidence_of, read
from detectors.errors import ConfigError
from detectors.fitting import Trajectory, ceilings, fit, purpose_reach, trajectory
from detectors.observation import Observation, rows_to_observations
from detectors.registry import ENTRIES
from streams.batches import Rows
from streams.evaluation import clopper_pearson
from streams.intake import Intake, Record

FEWEST = 200
"""Accounts below which a budget of 1 in 1,000 cannot be spoken of at all."""

_MOST_OF_ONE = 0.10  # of accounts, from one organisation or one network: what one of them buys moves little
_CLEANED = 0.01  # of accounts, those the base finds most unusual: some in any traffic are what we look for
_FOLDS = 5
_GROUPS = 20
_CHUNK = 512
_DRIFT_LOOK = LOOKS.index(128)
_QUANTILES = (0.5, 0.99)


class Drift(NamedTuple):
    """Scores of one detector in the new profile and in the base, after 128 exchanges: median, 99 %."""

    detector: str
    new: tuple[float, float]
    base: tuple[float, float]


class Fitted(NamedTuple):
    """A profile and what there is to say of it.

    Attributes
    ----------
    profile : Profile
    accounts : int
        Ordinary accounts it was fitted to.
    left_out : dict of str to int
        Accounts that were not used, by reason.
    flagged : int
        Accounts flagged at the budget by profiles fitted without them.
    low, high : float
        Clopper-Pearson interval of their share, 95 %.
    drift : list of Drift
    """

    profile: Profile
    accounts: int
    left_out: dict[str, int]
    flagged: int
    low: float
    high: float
    drift: list[Drift]


@dataclasses.dataclass(slots=True)
class _Account:
    event_ids: list[str] = dataclasses.field(default_factory=list)
    rows: list[Rows] = dataclasses.field(default_factory=list)
    count: int = 0


def read_accounts(intake: Intake, records: Iterable[Record]) -> dict[str, list[Observation]]:
    """First exchanges of every account, as many as a window has, each event once, in the order they apply."""
    kept: dict[str, _Account] = defaultdict(_Account)
    iterator = iter(records)
    while chunk := list(itertools.islice(iterator, _CHUNK)):
        taken = intake.take(chunk)
        for place, (account_id, event_id) in enumerate(zip(taken.accounts, taken.event_ids, strict=True)):
            account = kept[account_id]
            # Twice the window, because what comes late in the file may be early in time.
            if account.count < 2 * LOOKS[-1]:
                account.count += 1
                account.event_ids.append(event_id)
                account.rows.append(taken.rows[place : place + 1].copy())
    found = {}
    for account_id, account in sorted(kept.items()):
        rows = np.concatenate(account.rows)
        seen = rows_to_observations([account_id] * len(rows), account.event_ids, rows)
        seen.sort(key=lambda one: (one.order_ms, one.event_id))
        found[account_id] = list({one.event_id: one for one in reversed(seen)}.values())[::-1][: LOOKS[-1]]
    return found


def fit_own(
    accounts: Mapping[str, list[Observation]],
    base: Profile,
    *,
    name: str,
    budget: float,
    not_ordinary: Collection[str] = (),
) -> Fitted:
    """Fit a profile to an operator's accounts.

    Parameters
    ----------
    accounts : mapping of str to list of Observation
        As from `read_accounts`, read with the base's purposes.
    base : Profile
        Gives the weights of purposes, the pools, and the tables of looks that fewer than 20 accounts reach.
    name : str
        Version of the new profile.
    budget : float
        At which the fit is checked.
    not_ordinary : collection of str
        Accounts known to be extraction.

    Raises
    ------
    ConfigError
        Too few accounts.

    Notes
    -----
    Against poisoning: labelled accounts, what exceeds a tenth of all from one organisation or network, and
    the one in a hundred that the base finds most unusual are left out. Limits of purposes rise above the
    base's only as far as one ordinary account in twenty goes. The result does not depend on the order of
    accounts. Cost: the detectors twice over every exchange.
    """
    used, left_out = _chosen(accounts, base, frozenset(not_ordinary))
    if len(used) < FEWEST:
        raise ConfigError(
            f"fit: {len(used)} ordinary accounts with at least {LOOKS[0]} exchanges, {FEWEST} are needed: "
            "give more recorded traffic, or keep the profile that ships"
        )
    names = sorted(used, key=_dealt)
    kinds = len(base.purposes.kinds)
    limits = dataclasses.replace(
        base.for_detectors, **_shares(used[one] for one in names), purpose=_limits(used, base, kinds)
    )
    reference = [trajectory(str(place % _GROUPS), used[one], limits) for place, one in enumerate(names)]
    source = Source("own traffic", "-", len(names), sum(len(used[one]) for one in names))
    provenance = Provenance(f"extraction-detector fit, base {base.version}", (source,))

    def fitted(trajectories: Sequence[Trajectory]) -> Profile:
        made = fit(
            trajectories, limits, version=name, provenance=provenance, purposes=base.purposes, base=base
        )
        return msgspec.structs.replace(made, pools=base.pools)

    profile = fitted(reference)
    flagged = 0
    for fold in range(_FOLDS):
        others = fitted([one for place, one in enumerate(reference) if place % _FOLDS != fold])
        flagged += sum(_least(others, one) <= budget for one in reference[fold::_FOLDS])
    low, high = clopper_pearson(flagged, len(reference))
    return Fitted(profile, len(reference), left_out, flagged, low, high, _drift(profile, base))


def _chosen(
    accounts: Mapping[str, list[Observation]], base: Profile, not_ordinary: frozenset[str]
) -> tuple[dict[str, list[Observation]], dict[str, int]]:
    """Accounts to fit to, and how many were left out, by reason."""
    long = {name: seen for name, seen in accounts.items() if len(seen) >= LOOKS[0]}
    left_out = {"too short": len(accounts) - len(long)}
    known = {name: seen for name, seen in long.items() if name not in not_ordinary}
    left_out["labelled extraction"] = len(long) - len(known)
    most = max(1, int(_MOST_OF_ONE * len(known)))
    used: dict[str, list[Observation]] = {}
    of: dict[tuple[str, int], int] = defaultdict(int)
    for name in sorted(known, key=_dealt):
        first = known[name][0]
        ties = [("organisation", first.organisation), ("network", first.network)]
        if any(value and of[tie, value] >= most for tie, value in ties):
            continue
        for tie, value in ties:
            of[tie, value] += 1
        used[name] = known[name]
    left_out["more than a tenth from one organisation or network"] = len(known) - len(used)
    limits = base.for_detectors
    least = {name: _least(base, trajectory("", seen, limits)) for name, seen in used.items()}
    unusual = sorted(used, key=lambda name: (least[name], _dealt(name)))[: int(_CLEANED * len(used))]
    unusual = [name for name in unusual if least[name] <= _CLEANED]
    for name in unusual:
        del used[name]
    left_out["most unusual to the base profile"] = len(unusual)
    return used, {reason: count for reason, count in left_out.items() if count}


def _dealt(name: str) -> tuple[int, str]:
    """Order of accounts that neither their names nor the order of files decides."""
    return xxhash.xxh3_64_intdigest(name.encode("utf-8", "surrogatepass")), name


def _shares(accounts: Iterable[list[Observation]]) -> dict[str, Any]:
    found = ceilings(accounts)
    return {"elicitation": found.elicitation, "benchmark": found.benchmark, "probing": found.probing}


def _limits(used: Mapping[str, list[Observation]], base: Profile, kinds: int) -> tuple[float, ...]:
    if not kinds:
        return base.ceilings.purpose
    reached = np.array([purpose_reach(seen, kinds) for _, seen in sorted(used.items())])
    own = np.quantile(np.maximum(reached, 0.0), 0.95, axis=0)
    return tuple(
        float(f"{max(float(mine), theirs):.6g}")
        for mine, theirs in zip(own, base.ceilings.purpose, strict=True)
    )


def _least(profile: Profile, one: Trajectory) -> float:
    """Least share of ordinary accounts that get as far, over the looks."""
    return min(
        (
            profile.share_reaching(evidence_of([reading.weight for reading in readings]))
            for look, row in enumerate(one.scores)
            if (readings := read(profile, look, row))
        ),
        default=1.0,
    )


def _drift(profile: Profile, base: Profile) -> list[Drift]:
    def at(of: Profile, detector: str) -> tuple[float, float]:
        table = of.detectors[detector].looks[_DRIFT_LOOK]
        low, high = np.interp(_QUANTILES, of.levels, table.quantiles)
        return float(low), float(high)

    return [Drift(entry.spec.id, at(profile, entry.spec.id), at(base, entry.spec.id)) for entry in ENTRIES]
