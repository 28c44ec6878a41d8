"""From judged accounts to figures, and figures as text."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.baselines import BASELINES
from benchmarks.judging import COMPARED, Judged
from detectors.calibration import LOOKS
from streams.evaluation import clopper_pearson

BUDGETS = (0.01, 0.003, 0.001)
BY = (20, 50, 100, 200, 500)
EQUAL = (0.005, 0.01, 0.05)
_CALIBRATED = (0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1)
_MOST_FALSE = 0.2  # of ordinary accounts, where ROC curves end


def found_at(one: Judged, budget: float) -> int | None:
    """Exchanges until the account is flagged at a budget."""
    return next((LOOKS[at] for at, share in enumerate(one.shares) if share <= budget), None)


def figures(judged: Sequence[Judged]) -> dict[str, Any]:
    """All tables, as plain data."""
    groups: dict[tuple[str, str, str], list[Judged]] = defaultdict(list)
    for one in judged:
        groups[one.setting, one.account_class, one.source].append(one)
        groups[one.setting, one.account_class, ""].append(one)
        groups[one.setting, "", ""].append(one)
    rows = []
    for (setting, account_class, source), members in sorted(groups.items()):
        row: dict[str, Any] = {
            "setting": setting,
            "class": account_class,
            "source": source,
            "accounts": len(members),
            "at": {},
        }
        for budget in BUDGETS:
            at = [found_at(one, budget) for one in members]
            hits = sorted(n for n in at if n is not None)
            low, high = clopper_pearson(len(hits), len(members))
            row["at"][f"{budget:g}"] = {
                "flagged": len(hits),
                "share": len(hits) / len(members),
                "low": low,
                "high": high,
                "by": {str(n): sum(h <= n for h in hits) / len(members) for n in BY},
                "median": hits[len(hits) // 2] if hits else None,
                "p90": hits[len(hits) * 9 // 10] if hits else None,
            }
        # Sources count alike: a kind with many accounts of one source says little about the next source.
        rows.append(row)
    return {
        "version": 1,
        "budgets": list(BUDGETS),
        "rows": rows,
        "by_source": _by_source(rows),
        "methods": compare(judged),
        "roc": roc(judged),
        "found_by": found_by(judged, BUDGETS[-1]),
        "calibration": calibration(judged),
    }


def compare(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """Share of known-kind accounts found by every method, at thresholds that flag equally many others.

    Every method's threshold is set on the very ordinary accounts it is then credited for, which
    flatters all of them alike.
    """
    rows = []
    for curve in roc(judged):
        row: dict[str, Any] = {"method": curve["method"]}
        for share in EQUAL:
            row[f"{share:g}"] = curve["found"][int(share * curve["ordinary"])]
        rows.append(row)
    return rows


def roc(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """Per method, the share of known-kind accounts found where 0, 1, 2, ... ordinary accounts are flagged.

    Sources count alike, however many accounts each has.
    """
    names = ["this detector", *(make().name for make in BASELINES)]
    of = {name: [one for one in judged if one.setting == name] for name in COMPARED}
    curves = []
    for at, name in enumerate(names):
        ordinary = np.sort([one.scores[at] for one in of["benign"]])[::-1]
        by_source: dict[str, list[float]] = defaultdict(list)
        for one in of["known kind"]:
            by_source[one.source].append(one.scores[at])
        found = [
            float(np.mean([np.mean(np.array(scores) > over) for _, scores in sorted(by_source.items())]))
            for over in ordinary[: 1 + int(_MOST_FALSE * len(ordinary))]
        ]
        curves.append({"method": name, "ordinary": len(ordinary), "found": found})
    return curves


def found_by(judged: Sequence[Judged], budget: float) -> list[dict[str, Any]]:
    """Per setting but the ordinary one, the share of accounts found by each look."""
    rows = []
    for setting in sorted({one.setting for one in judged} - {"benign"}):
        at = [found_at(one, budget) for one in judged if one.setting == setting]
        share = [sum(n is not None and n <= look for n in at) / len(at) for look in LOOKS]
        rows.append({"setting": setting, "looks": list(LOOKS), "share": share})
    return rows


def calibration(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """Share of ordinary accounts flagged at each budget, with its 95 % interval."""
    ordinary = [one for one in judged if one.setting == "benign"]
    rows = []
    for budget in _CALIBRATED:
        flagged = sum(found_at(one, budget) is not None for one in ordinary)
        low, high = clopper_pearson(flagged, len(ordinary))
        rows.append(
            {
                "budget": budget,
                "accounts": len(ordinary),
                "flagged": flagged,
                "share": flagged / len(ordinary),
                "low": low,
                "high": high,
            }
        )
    return rows


def _by_source(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean over sources of the share found or flagged, by setting and budget."""
    means: dict[str, dict[str, float]] = {}
    for setting in sorted({row["setting"] for row in rows}):
        of = [row for row in rows if row["setting"] == setting and row["source"]]
        means[setting] = {
            f"{budget:g}": float(np.mean([row["at"][f"{budget:g}"]["share"] for row in of]))
            for budget in BUDGETS
        }
    return means


def table(result: dict[str, Any], budget: float) -> str:
    """The figures for people, at one budget."""
    head = f"{'':16} {'class or kind':22} {'source':32} {'accounts':>8} {'flagged':>8}  {'interval':16}"
    lines = [head + "".join(f"{f'by {n}':>8}" for n in BY) + f"{'median':>8}{'p90':>6}"]
    for row in result["rows"]:
        at = row["at"][f"{budget:g}"]
        line = f"{row['setting']:16} {row['class'] or 'all':22} {row['source'] or 'all':32} "
        line += f"{row['accounts']:>8} {at['share']:>8.1%}  {at['low']:>6.1%} .. {at['high']:<6.1%}"
        line += "".join(f"{at['by'][str(n)]:>8.0%}" for n in BY)
        lines.append(f"{line}{at['median'] or '-':>8}{at['p90'] or '-':>6}")
    lines.append("")
    for setting, means in result["by_source"].items():
        found = ", ".join(f"{share:.1%} at {name}" for name, share in means.items())
        lines.append(f"mean over sources, {setting}: {found}")
    lines += ["", "found of known kinds, mean over sources, at equal false alarms (benign accounts flagged):"]
    for row in result["methods"]:
        found = ", ".join(f"{row[f'{share:g}']:.1%} at {share:.1%}" for share in EQUAL)
        lines.append(f"{row['method']:24} {found}")
    return "\n".join(lines)
