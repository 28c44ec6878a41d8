"""Detection of accounts that share a link, on real prompts, by weights and a reference that never saw them.

A campaign's accounts share out one query set. Cover is traffic of ordinary accounts that share the link
by chance, as customers of one network do. Ordinary pools are made of accounts of sources that the
reference does not know: customers of one product, and mixed ones.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any, NamedTuple

import msgspec
import numpy as np

from benchmarks.composition import FOLDS, Composer
from benchmarks.judging import Fold, Reader, profile_of
from detectors.calibration import LOOKS, Pools
from detectors.engine import DetectionSettings
from detectors.observation import Observation
from detectors.pools import SEPARATOR, PoolEngine
from streams.crowds import Member, ordinary_crowds
from streams.evaluation import clopper_pearson
from streams.profile import GENERATOR, all_limits, pool_reference

COVER = (0.0, 0.5, 0.75)
"""Share of the pool's exchanges that are ordinary."""

BUDGETS = (0.001, 0.003, 0.01)
_BENIGN_EACH, _BENIGN_MIXED = 12, 24
_POOL = "link:0"


class JudgedPool(NamedTuple):
    """Result for one pool.

    Attributes
    ----------
    setting, source : str
        `campaign` or `ordinary`; the query set, or the ordinary source.
    members, each : int
        Accounts, and exchanges of each; 0 where they differ.
    cover : float
        Share of exchanges that are ordinary.
    share : float
        Least share of ordinary pools that get as far, over the looks of all windows.
    spent : float
        Share of the campaign's exchanges before its first alert at the strictest budget; 1 without one.
    recall, precision : float
        Of the members that alerts named.
    """

    setting: str
    source: str
    members: int
    each: int
    cover: float
    share: float
    spent: float = 1.0
    recall: float = 0.0
    precision: float = 1.0


def judge_pool(
    engine: PoolEngine, accounts: Sequence[Sequence[Observation]], guilty: frozenset[int]
) -> tuple[float, float, float, float]:
    """Least share over all looks; share spent before the first alert; recall and precision of members."""
    stream = sorted(
        ((seen, member) for member, account in enumerate(accounts) for seen in account),
        key=lambda pair: (pair[0].order_ms, pair[0].event_id, pair[1]),
    )
    pool, least, taken, spent = engine.fresh(_POOL), 1.0, 0, 1.0
    named: set[int] = set()
    total = sum(len(accounts[member]) for member in guilty)
    for number, (seen, member) in enumerate(stream):
        # Accounts of several compositions may have chosen the same event ids.
        one = seen._replace(account=f"{_POOL}{SEPARATOR}{member}", event_id=f"{member}/{number}")
        alert = engine.apply(pool, one, "evaluation")
        taken += member in guilty
        if pool.count in LOOKS and pool.shared:
            least = min(least, engine.assess(pool, LOOKS.index(pool.count))[0])
        if alert is not None:
            if not named:
                spent = taken / max(total, 1)
            named.update(map(int, alert.subject.accounts or ()))
    recall = len(named & guilty) / max(len(guilty), 1)
    return least, spent, recall, len(named & guilty) / len(named) if named else 1.0


def evaluate_pools(composer: Composer, reader: Reader, log: Callable[[str], None]) -> list[JudgedPool]:
    """Judge campaigns and ordinary pools with what was learned without their sources."""
    judged: list[JudgedPool] = []
    for fold in range(FOLDS):
        population = reader.population(fold)
        limits, unseen = all_limits(population, reader.models[fold].kinds)
        crowds = Fold(limits, pool_reference(population, unseen))
        tables = profile_of(crowds, purposes=reader.models[fold])
        engine = PoolEngine(
            DetectionSettings(), msgspec.structs.replace(tables, pools=Pools(tables.detectors, tables.ever))
        )
        cover = [account for part, account in population if part.source == GENERATOR]
        judged += _campaigns(composer, reader, fold, engine, cover)
        judged += _ordinary(composer, reader, fold, engine)
        log(f"pools of group {fold + 1} of {FOLDS}: fitted on {len(crowds.reference)}")
    return judged


def _campaigns(
    composer: Composer, reader: Reader, fold: int, engine: PoolEngine, cover: Sequence[list[Observation]]
) -> Iterator[JudgedPool]:
    for (source, members, each), accounts in composer.campaigns.items():
        if next(one.fold for one in composer.sources if one.name == source) != fold:
            continue
        guilty = [reader.observations(account, fold) for account in accounts]
        for share in COVER:
            rng = Random(f"cover/{source}/{members}/{each}/{share}")
            extra: list[list[Observation]] = []
            while sum(map(len, extra)) < members * each * share / (1 - share):
                extra.append(rng.choice(cover)[: 2 * each])
            least, spent, recall, precision = judge_pool(
                engine, [*guilty, *extra], frozenset(range(len(guilty)))
            )
            yield JudgedPool("campaign", source, members, each, share, least, spent, recall, precision)


def _ordinary(composer: Composer, reader: Reader, fold: int, engine: PoolEngine) -> Iterator[JudgedPool]:
    accounts: dict[str, list[Member]] = defaultdict(list)
    for setting in composer.settings:
        if setting.fold == fold and setting.name == "benign":
            for account in setting.accounts:
                name = f"{setting.source}, {setting.account_class}"
                accounts[name].append((setting.source, reader.observations(account, fold)))
    crowds = ordinary_crowds(accounts, seed=fold, each=_BENIGN_EACH, mixed=_BENIGN_MIXED)
    for crowd in crowds:
        of = list({seen.account: None for seen in crowd.observations})
        members = [[seen for seen in crowd.observations if seen.account == name] for name in of]
        least, *_ = judge_pool(engine, members, frozenset())
        yield JudgedPool("ordinary", crowd.group.split("/")[0], len(members), 0, 1.0, least)


def pool_figures(judged: Sequence[JudgedPool]) -> list[dict[str, Any]]:
    """Per setting: pools, share found or flagged at each budget, members named, share spent."""
    groups: dict[tuple[str, int, int, float], list[JudgedPool]] = defaultdict(list)
    for one in judged:
        size = (one.members, one.each) if one.setting == "campaign" else (0, 0)
        groups[one.setting, *size, one.cover].append(one)
    rows = []
    for (setting, members, each, cover), of in sorted(groups.items()):
        found = [one for one in of if one.share <= BUDGETS[0]]
        low, high = clopper_pearson(len(found), len(of))
        rows.append(
            {
                "setting": setting,
                "members": members,
                "each": each,
                "cover": cover,
                "pools": len(of),
                "at": {f"{budget:g}": sum(one.share <= budget for one in of) / len(of) for budget in BUDGETS},
                "low": low,
                "high": high,
                "spent": float(np.median([one.spent for one in found])) if found else None,
                "recall": float(np.mean([one.recall for one in found])) if found else None,
                "precision": float(np.mean([one.precision for one in found])) if found else None,
                "found": sorted({one.source for one in found}),
            }
        )
    return rows


def pool_table(rows: Sequence[dict[str, Any]]) -> str:
    """The figures for people."""
    head = f"{'accounts that share a link':34}{'pools':>6}{'0.1 %':>8}{'0.3 %':>8}{'1 %':>8}"
    lines = ["", f"{head}  {'interval at 0.1 %':18}{'spent':>8}{'named':>8}{'rightly':>8}"]
    for row in rows:
        name = "ordinary pools"
        if row["setting"] == "campaign":
            name = f"{row['members']} x {row['each']}, {row['cover']:.0%} ordinary traffic"
        line = f"{name:34}{row['pools']:>6}" + "".join(f"{share:>8.1%}" for share in row["at"].values())
        line += f"  {row['low']:>6.1%} .. {row['high']:<9.1%}"
        for key in ("spent", "recall", "precision"):
            line += (
                f"{'-' if row[key] is None or row['setting'] == 'ordinary' else format(row[key], '.0%'):>8}"
            )
        lines.append(line)
    return "\n".join(lines)
