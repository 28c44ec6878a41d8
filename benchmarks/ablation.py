"""What each detector adds, and for which kinds of query sets its sign is wrong."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.judging import Fold, Judged, profile_of
from detectors.calibration import LOOKS, Profile, evidence_of, read
from detectors.fitting import Trajectory
from detectors.registry import ENTRIES

SETTINGS = ("known kind", "kind never seen", "mixture 50%", "mixture 25%", "other abuse", "benign")
AT = (0.001, 0.01)
"""Budgets at which detector sets are compared."""

_LOOK = LOOKS.index(64)  # reached by most accounts
_Row = tuple[float | None, ...]


def ablation(
    judged: Sequence[Judged], folds: Sequence[Fold], log: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Shares of accounts found or flagged by sets of detectors.

    Parameters
    ----------
    judged : sequence of Judged
        With every detector's scores.
    folds : sequence of Fold
        What they were judged with; for each set, tables and the combination are fitted anew.
    log : callable
        Called with a line after each set.

    Returns
    -------
    list of dict
        Per set: `set`; per setting and budget the mean over sources of the share.
    """
    ids = [entry.spec.id for entry in ENTRIES]
    sets = [("all", frozenset(ids))]
    sets += [(f"without {one}", frozenset(ids) - {one}) for one in ids]
    sets += [(f"only {one}", frozenset({one})) for one in ids]
    rows = []
    for name, kept in sets:
        places = frozenset(place for place, one in enumerate(ids) if one in kept)
        profiles = [profile_of(_masked(fold, places)) for fold in folds]
        shares = [_least_share(profiles[one.fold], one, places) for one in judged]
        rows.append({"set": name, **_summary(judged, shares)})
        log(f"{name}: {rows[-1]['known kind'][f'{AT[0]:g}']:.1%} of known kinds")
    return rows


def _mask(row: Sequence[float | None], places: frozenset[int]) -> _Row:
    return tuple(score if place in places else None for place, score in enumerate(row))


def _masked(fold: Fold, places: frozenset[int]) -> Fold:
    return Fold(
        fold.limits,
        [Trajectory(one.group, [_mask(row, places) for row in one.scores]) for one in fold.reference],
    )


def _least_share(profile: Profile, one: Judged, places: frozenset[int]) -> float:
    least = 1.0
    for look, row in enumerate(one.raw):
        weights = [reading.weight for reading in read(profile, look, _mask(row, places))]
        if weights:
            least = min(least, profile.share_reaching(evidence_of(weights)))
    return least


def _summary(judged: Sequence[Judged], shares: Sequence[float]) -> dict[str, Any]:
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one, share in zip(judged, shares, strict=True):
        found[one.setting][one.source].append(share)
    return {
        setting: {
            f"{budget:g}": float(
                np.mean([np.mean(np.array(of) <= budget) for _, of in sorted(found[setting].items())])
            )
            for budget in AT
        }
        for setting in SETTINGS
        if found[setting]
    }


def signs(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """How well each detector's plain score tells a kind from ordinary accounts, at one look.

    Returns
    -------
    list of dict
        Per detector and kind: area under the ROC curve; below one half, the kind's accounts score lower
        than ordinary ones.
    """
    at = [one for one in judged if len(one.raw) > _LOOK]
    benign = [one for one in at if one.setting == "benign"]
    kinds: dict[str, list[Judged]] = defaultdict(list)
    for one in at:
        if one.setting == "known kind":
            kinds[one.account_class].append(one)
    rows = []
    for place, entry in enumerate(ENTRIES):
        row: dict[str, Any] = {"detector": entry.spec.id, "kinds": {}}
        ordinary = [score for one in benign if (score := one.raw[_LOOK][place]) is not None]
        for kind, members in sorted(kinds.items()):
            scores = [score for one in members if (score := one.raw[_LOOK][place]) is not None]
            if scores and ordinary:
                above = float(stats.mannwhitneyu(scores, ordinary).statistic)
                row["kinds"][kind] = above / len(scores) / len(ordinary)
        rows.append(row)
    return rows
