"""Composes the accounts that detection is measured on, out of files of real prompts.

Pace and metadata are drawn blind to the label, as `simulate` draws them.
"""

import gzip
import itertools
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from detectors.events import RequestEvent
from detectors.observation import Observation, rows_to_observations
from detectors.observe import Observer
from detectors.observe.purpose import PurposeModel, PurposeReader
from detectors.observe.text import select
from detectors.observe.words import WordHasher, join
from streams.profile import GENERATOR, REPEATED
from streams.simulate import BuiltinPrompts, FilePrompts, PromptSource, Repeating, SimulationSpec, compose

KEY = b"evaluation"
FOLDS = 5
MIXTURES = (0.05, 0.10, 0.25, 0.50)
CAMPAIGNS = ((60, 5), (60, 20), (12, 100))
"""Accounts of a campaign, and exchanges of each."""

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
        self.campaigns: dict[tuple[str, int, int], list[Account]] = {}
        self._folder, self._seed, self._scale = folder, seed, scale
        self._by_name = {source.name: source for source in self.sources}
        for source in self.sources:
            self._source(source)
            if source.label == "extraction":
                self._campaigns(source)
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

    def _campaigns(self, source: SourceInfo) -> None:
        """Accounts that share out one query set."""
        for members, each in CAMPAIGNS:
            spec = SimulationSpec(
                accounts=members,
                days=14,
                seed=self._seed * 1000 + 90 + source.fold,
                extraction_share=1.0,
                modes={"sharded": 1.0},
                shards=members,
                exchanges=each,
                spread=0.2,
                min_exchanges=each,
                max_exchanges=each,
            )
            made = composed(self._prompts(source), self.texts, source.name, spec)
            self.campaigns[source.name, members, each] = made

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
