"""Detection quality on real prompts, every source measured with weights and thresholds that never saw it.

    python -m benchmarks.detection --prompts DIR --out FOLDER

Sources are dealt into five groups. For each group, purposes are learned and a reference population is
fitted on the other four; accounts of the group's own sources are then judged by the engine. Accounts
are composed as `simulate` composes them: pace and metadata are drawn blind to the label.
"""

import argparse
import gzip
import itertools
import json
import math
import random
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from benchmarks.baselines import BASELINES
from detectors.calibration import LOOKS, Profile, Provenance
from detectors.engine import DetectionSettings, Engine
from detectors.events import RequestEvent
from detectors.learning import Learner, PromptSet
from detectors.observation import PURPOSES, Observation, rows_to_observations
from detectors.observe import Observer
from detectors.observe.purpose import UNKNOWN, PurposeModel, PurposeReader
from detectors.observe.text import select
from detectors.observe.words import WordHasher, join
from streams.evaluation import clopper_pearson
from streams.profile import GENERATOR, REPEATED, Part, fit_population, generated_prompts, prompt_sets
from streams.simulate import BuiltinPrompts, FilePrompts, PromptSource, Repeating, SimulationSpec, compose

KEY = b"evaluation"
FOLDS = 5
BUDGETS = (0.01, 0.003, 0.001)
BY = (20, 50, 100, 200, 500)
MIXTURES = (0.05, 0.10, 0.25, 0.50)

CLASS_OF = {
    "human_chat": "people",
    "human_instruction": "people",
    "templated_customer": "templated customers",
    "tool_calling": "templated customers",
    "customer_utterance": "templated customers",
    "classifier_input": "batch jobs",
    "coding_agent": "coding agents",
    "agent_observation": "coding agents",
}
HARNESSES = ("bfcl_live", "boolq", "sst2")  # a fixed set of items, sent again for every model and version
LOOPS = ("aider_history", "chatbot_arena_2023", "instructionwild_twitter")
COVER = ("hh_harmless_base_test", "clinc150", "instructionwild_twitter", "chatbot_arena_2023", "bfcl_live")
COMPARED = ("benign", "known kind")  # settings in which the published methods run too
EQUAL = (0.005, 0.01, 0.05)
_BASELINE_REFERENCE = 100  # accounts; more moves the baselines' thresholds, not their order
_HARNESS_ITEMS = 40
_BATCH = 1024

Change = Callable[[str, int, str], str]


class SourceInfo(NamedTuple):
    """One data set."""

    name: str
    label: str
    kind: str
    fold: int
    rows: list[str]  # JSON lines


class Account(NamedTuple):
    """One composed account: observations without purposes, and the number of each one's text."""

    source: str
    unit: str  # what it was composed from, as purposes are learned: the source, or a chunk of its templates
    observations: list[Observation]
    texts: list[int]
    repeats: bool = False  # a few prompts, over and over


class Setting(NamedTuple):
    """Accounts that are measured together."""

    name: str
    account_class: str
    source: str
    fold: int
    blank: str  # kind of query sets whose weights are taken away; empty for none
    accounts: list[Account]


class Texts:
    """Distinct texts, numbered."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        """Number of a text."""
        return self._numbers.setdefault(text, len(self._numbers))

    def purposes(self, model: PurposeModel) -> list[bytes]:
        """What each text looks like it is for, by number."""
        reader, hasher, found = PurposeReader(model), WordHasher(KEY), []
        texts = list(self._numbers)
        for low in range(0, len(texts), 256):
            joined = join([text.encode("utf-8", "surrogatepass") for text in texts[low : low + 256]])
            found += [row.tobytes() for row in reader.read(hasher.words(joined), joined)]
        return found


# -- composing accounts ----------------------------------------------------------------------------


def read_sources(directory: Path) -> list[SourceInfo]:
    """Sources of a folder, dealt into folds kind by kind so that a kind's sources part company."""
    rows: dict[tuple[str, str], list[str]] = defaultdict(list)
    kinds: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for path in sorted(directory.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                rows[row["label"], row["source"]].append(line)
                kinds[row["source"]][row["kind"]] += 1
    kind_of = {source: max(sorted(found), key=found.__getitem__) for source, found in kinds.items()}
    ordered = sorted(rows, key=lambda key: (key[0], kind_of[key[1]], key[1]))
    return [
        SourceInfo(source, label, kind_of[source], number % FOLDS, rows[label, source])
        for number, (label, source) in enumerate(ordered)
    ]


def composed(
    prompts: PromptSource, texts: Texts, source: str, spec: SimulationSpec, change: Change | None = None
) -> list[Account]:
    """Accounts of one source, at least 16 exchanges each."""
    observer = Observer(KEY)
    accounts: dict[str, Account] = {}
    for batch in _batches(compose(spec, prompts), change):
        events = [event for event, _ in batch]
        seen = rows_to_observations(
            [event.account_id for event in events],
            [event.event_id for event in events],
            observer.observe(events),
        )
        for one, (_, text) in zip(seen, batch, strict=True):
            account = accounts.setdefault(one.account, Account(source, source, [], []))
            account.observations.append(one)
            account.texts.append(texts.number(text))
    return [account for _, account in sorted(accounts.items())]


def _batches(
    events: Iterable[dict[str, Any]], change: Change | None
) -> Iterator[list[tuple[RequestEvent, str]]]:
    sent: dict[str, int] = defaultdict(int)
    batch = []
    for event in events:
        if change is not None:
            account = event["account_id"]
            last = event["messages"][-1]
            last["content"] = change(account, sent[account], last["content"])
            sent[account] += 1
        typed = msgspec.convert(event, RequestEvent)
        batch.append((typed, select(typed.messages, 8192).new))
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def harness(items: Sequence[str]) -> Change:
    """Each account sends a few dozen items over and over."""
    starts: dict[str, int] = {}

    def change(account: str, number: int, _: str) -> str:
        start = starts.setdefault(account, random.Random(account).randrange(len(items)))
        return items[(start + number % _HARNESS_ITEMS) % len(items)]

    return change


def loop() -> Change:
    """Each account sends its first prompt again and again."""
    first: dict[str, str] = {}
    return lambda account, _, text: first.setdefault(account, text)


def mixed(share: float, items: Sequence[str]) -> Change:
    """A share of each account's exchanges are the next items of a query set, the others stay."""
    state: dict[str, tuple[random.Random, Iterator[str]]] = {}

    def change(account: str, _: int, text: str) -> str:
        if account not in state:
            rng = random.Random(f"mixed/{account}")
            start = rng.randrange(len(items))
            state[account] = rng, itertools.cycle([*items[start:], *items[:start]])
        rng, rest = state[account]
        return next(rest) if rng.random() < share else text

    return change


class Composer:
    """Composes all settings once; folds change only what their texts look like they are for."""

    def __init__(self, directory: Path, folder: Path, seed: int, scale: float) -> None:
        self.sources = read_sources(directory)
        self.texts = Texts()
        self.settings: list[Setting] = []
        self.reference: list[tuple[SourceInfo | None, Account]] = []
        self._folder, self._seed, self._scale = folder, seed, scale
        self._by_name = {source.name: source for source in self.sources}
        for source in self.sources:
            self._source(source)
        for name in HARNESSES:
            self._derived("evaluation harnesses", name, harness(self._items(name)))
        for name in LOOPS:
            self._derived("single-prompt loops", name, loop())
        for share in MIXTURES:
            for source in self.sources:
                if source.label == "extraction":
                    self._mixture(source, share)
        spec = self._spec(round(1000 * scale), 150, 1100, 1.2, 0.0, 7)
        for account in composed(BuiltinPrompts(), self.texts, GENERATOR, spec):
            self.reference.append((None, account))
        spec = self._spec(round(150 * scale), 150, 1100, 1.2, 0.0, 8)
        for account in composed(Repeating(BuiltinPrompts(), REPEATED), self.texts, GENERATOR, spec):
            self.reference.append((None, account._replace(repeats=True)))

    def _items(self, name: str) -> list[str]:
        return [json.loads(line)["text"] for line in self._by_name[name].rows if json.loads(line)["text"]]

    def _prompts(self, source: SourceInfo) -> FilePrompts:
        place = self._folder / source.name
        if not place.exists():
            place.mkdir()
            with gzip.open(place / "part.jsonl.gz", "wt", encoding="utf-8", compresslevel=1) as out:
                out.writelines(source.rows)
        return FilePrompts(place, other_abuse=source.label == "other_abuse")

    def _spec(
        self, accounts: int, exchanges: float, most: int, spread: float, extraction: float, offset: int
    ) -> SimulationSpec:
        return SimulationSpec(
            accounts=max(accounts, 2),
            days=14,
            seed=self._seed * 1000 + offset,
            extraction_share=extraction,
            modes={"overt": 0.5, "paced": 0.5},
            exchanges=exchanges,
            spread=spread,
            min_exchanges=24,
            max_exchanges=most,
        )

    def _source(self, source: SourceInfo) -> None:
        benign = source.label != "extraction"
        many = 2.0 if source.kind == "templated_customer" else 1.0
        accounts = round((30 if benign else 16) * many * self._scale)
        spec = self._spec(accounts, 110, 520, 0.7, 0.0 if benign else 1.0, source.fold)
        made = composed(self._prompts(source), self.texts, source.name, spec)
        if source.label == "benign":
            name, account_class = "benign", CLASS_OF.get(source.kind, "people")
            repeating = Repeating(self._prompts(source), REPEATED)
            spec = self._spec(round(6 * self._scale), 150, 1100, 1.2, 0.0, 20 + source.fold)
            self.reference += [(source, account) for account in made]
            self.reference += [
                (source, account._replace(repeats=True))
                for account in composed(repeating, self.texts, source.name, spec)
            ]
        elif source.label == "extraction":
            name, account_class = "known kind", source.kind
        else:
            name, account_class = "other abuse", source.kind
        self.settings.append(Setting(name, account_class, source.name, source.fold, "", made))
        if source.label == "extraction":
            self.settings.append(
                Setting("kind never seen", source.kind, source.name, source.fold, source.kind, made)
            )

    def _derived(self, account_class: str, name: str, change: Change) -> None:
        source = self._by_name[name]
        spec = self._spec(round(20 * self._scale), 110, 520, 0.7, 0.0, 50 + source.fold)
        made = composed(self._prompts(source), self.texts, name, spec, change)
        self.settings.append(Setting("benign", account_class, name, source.fold, "", made))

    def _mixture(self, source: SourceInfo, share: float) -> None:
        covers = [self._by_name[name] for name in COVER]
        cover = next((one for one in covers if one.fold == source.fold), covers[0])
        change = mixed(share, self._items(source.name))
        spec = self._spec(round(4 * self._scale), 500, 520, 0.1, 0.0, 80 + source.fold)
        made = composed(self._prompts(cover), self.texts, source.name, spec, change)
        name = f"mixture {share:.0%}"
        self.settings.append(Setting(name, source.kind, source.name, source.fold, "", made))


# -- judging them ----------------------------------------------------------------------------------


class Judged(NamedTuple):
    """Result for one account.

    Attributes
    ----------
    setting, account_class, source : str
    shares : tuple of float
        Of ordinary accounts that get as far, look by look.
    signals : tuple of str
        Strongest signal at each look.
    scores : tuple of float
        Largest score over the looks, of this detector (-log10 of the smallest share) and each baseline.
    """

    setting: str
    account_class: str
    source: str
    shares: tuple[float, ...]
    signals: tuple[str, ...]
    scores: tuple[float, ...] = ()


def judge(engine: Engine, observations: Iterable[Observation]) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Share and strongest signal at each look of the first window."""
    account = engine.fresh("account")
    shares, signals = [], []
    for number, seen in enumerate(itertools.islice(observations, LOOKS[-1]), start=1):
        engine.apply(account, seen, "evaluation")
        if number in LOOKS and account.count == number:
            share, readings = engine.assess(account, LOOKS.index(number))
            shares.append(share)
            signals.append(max(readings, key=lambda one: one.weight).spec.id if readings else "")
    return tuple(shares), tuple(signals)


def evaluate(composer: Composer, prompts: Sequence[PromptSet], log: Callable[[str], None]) -> list[Judged]:
    """Judge every setting with what was learned without its sources."""
    learner = Learner(prompts)
    out_of = {fold: {s.name for s in composer.sources if s.fold == fold} for fold in range(FOLDS)}
    units = sorted({one.source for one in prompts})
    group_of = {source.name: source.fold for source in composer.sources}
    unit_of_text = {
        composer.texts.number(text[:8192]): one.source for one in prompts if one.part for text in one.texts
    }

    def unit_of(account: Account) -> str:
        """The chunk of templates that an account's prompts are of, else its source."""
        return next((unit_of_text[text] for text in account.texts if text in unit_of_text), account.unit)

    def inner(unit: str, fold: int) -> int:
        """Group in which a unit of the reference is left out when another group is measured."""
        source, _, chunk = unit.partition("/")
        if source == GENERATOR:
            return FOLDS
        group = (group_of[source] + int(chunk or 0)) % FOLDS
        return group if group != fold else (group + 1) % FOLDS

    read: dict[tuple[int, int], list[bytes]] = {}
    models: dict[int, PurposeModel] = {}
    for fold, left in itertools.product(range(FOLDS), range(-1, FOLDS)):
        if fold == left:
            continue
        model = learner.learn(
            without={
                unit for unit in units if unit.split("/")[0] in out_of[fold] or inner(unit, fold) == left
            }
        )
        read[fold, left] = composer.texts.purposes(model)
        if left < 0:
            models[fold] = model
    log(f"learned purposes {len(read)} times")

    judged = []
    for fold in range(FOLDS):
        population = []
        for source, account in composer.reference:
            if source is None:
                group = f"{GENERATOR}/repeating" if account.repeats else ""
                part = Part(group, GENERATOR, GENERATOR, BuiltinPrompts(), 0, 0)
                purposes = read[fold, -1]
            elif source.fold != fold:
                unit = unit_of(account)
                group = f"{source.name}/repeating" if account.repeats else unit
                part = Part(group, source.name, unit, BuiltinPrompts(), 0, 0)
                purposes = read[fold, inner(unit, fold)]
            else:
                continue
            population.append((part, _with(account, purposes)))
        profile: Profile = fit_population(
            population, models[fold], version=f"fold-{fold}", provenance=Provenance("evaluation", ())
        )
        baselines = [make() for make in BASELINES]
        ordinary = [account for _, account in population[:: max(1, len(population) // _BASELINE_REFERENCE)]]
        for baseline in baselines:
            baseline.fit(ordinary)
        engine = Engine(DetectionSettings(), profile)
        kinds = models[fold].kinds
        for setting in composer.settings:
            if setting.fold != fold:
                continue
            column = kinds.index(setting.blank) if setting.blank in kinds else None
            for account in setting.accounts:
                seen = _with(account, read[fold, -1], column)
                shares, signals = judge(engine, seen)
                scores = [-math.log10(min(shares, default=1.0))]
                if setting.name in COMPARED:
                    scores += [max(baseline.scores(seen), default=0.0) for baseline in baselines]
                judged.append(
                    Judged(
                        setting.name, setting.account_class, setting.source, shares, signals, tuple(scores)
                    )
                )
        log(f"group {fold + 1} of {FOLDS}: fitted on {len(population)} accounts")
    return judged


_UNKNOWN = (UNKNOWN + 256).to_bytes(1, "little")


def _with(account: Account, purposes: Sequence[bytes], blank: int | None = None) -> list[Observation]:
    """The account's observations with what its texts look like they are for, one kind taken away."""

    def value(number: int) -> bytes:
        found = purposes[number]
        if blank is None or found == _UNKNOWN * PURPOSES:
            return found
        return found[:blank] + _UNKNOWN + found[blank + 1 :]

    return [
        seen._replace(purpose=value(number))
        for seen, number in zip(account.observations, account.texts, strict=True)
    ]


# -- figures ---------------------------------------------------------------------------------------


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
    }


def compare(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """Share of known-kind accounts found by every method, at thresholds that flag equally many others.

    Every method's threshold is set on the very ordinary accounts it is then credited for, which
    flatters all of them alike.
    """
    names = ["this detector", *(make().name for make in BASELINES)]
    of = {name: [one for one in judged if one.setting == name] for name in COMPARED}
    rows = []
    for at, name in enumerate(names):
        ordinary = np.sort([one.scores[at] for one in of["benign"]])[::-1]
        row: dict[str, Any] = {"method": name}
        for share in EQUAL:
            threshold = ordinary[int(share * len(ordinary))]
            by_source: dict[str, list[bool]] = defaultdict(list)
            for one in of["known kind"]:
                by_source[one.source].append(one.scores[at] > threshold)
            row[f"{share:g}"] = float(np.mean([np.mean(hits) for _, hits in sorted(by_source.items())]))
        rows.append(row)
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


def main() -> None:
    """Evaluate, print, save."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--prompts", type=Path, required=True, help="folder with prompt files")
    parser.add_argument("--out", type=Path, required=True, help="folder for detection.json and detection.txt")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0, help="accounts, relative to the default")
    parser.add_argument("--budget", type=float, default=0.001, choices=BUDGETS, help="of the printed table")
    options = parser.parse_args()

    def log(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        composer = Composer(options.prompts, Path(folder), options.seed, options.scale)
    log(f"composed {sum(len(setting.accounts) for setting in composer.settings)} accounts to measure")
    names = {source.name for source in composer.sources if source.label != "other_abuse"}
    prompts = [*prompt_sets(options.prompts, names), generated_prompts(options.seed)]
    judged = evaluate(composer, prompts, log)
    result = {"seed": options.seed, "scale": options.scale, **figures(judged)}
    (options.out / "detection.json").write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    text = table(result, options.budget)
    (options.out / "detection.txt").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
