"""Builds the reference population that accounts are compared with, out of simulated and recorded prompts.

Most of it is traffic of the built-in generator; the rest has prompts of public data sets under
licences that allow it, paced and dressed like the first. Only numbers get into a profile. Data sets
that are not listed here are left for measuring it. A provider does better with a profile of its own
ordinary accounts: see `streams.fitting`.
"""

import dataclasses
import gzip
import json
import random
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from detectors.calibration import Pools, Profile, Provenance, Source
from detectors.events import RequestEvent
from detectors.fitting import Trajectory, ceilings, fit, purpose_limits, purpose_reach, trajectory
from detectors.learning import Learner, PromptSet
from detectors.observation import Observation, rows_to_observations
from detectors.observe import Observer
from detectors.observe.purpose import NO_PURPOSES, PurposeModel
from detectors.registry import Ceilings
from streams.crowds import Member, ordinary_crowds
from streams.errors import StreamsError
from streams.simulate import BuiltinPrompts, FilePrompts, PromptSource, Repeating, SimulationSpec, compose

LICENCES: Mapping[str, str] = {
    "awesome_chatgpt_prompts": "CC0-1.0",
    "banking77_promptsource": "CC-BY-4.0, Apache-2.0",
    "bfcl_live": "Apache-2.0",
    "chatbot_arena_2023": "Apache-2.0",
    "clinc150": "CC-BY-3.0",
    "hh_harmless_base_test": "MIT",
    "specstory_minsky": "MIT",
    "swe_agent_trajectories": "MIT",
    "t0_p3_templates": "Apache-2.0",
}
"""Benign sources that may go into a profile, with their licences."""

QUERY_SETS: Mapping[str, str] = {
    "bbh_cot_codedavinci": "MIT",
    "glaive_toolcall_en": "Apache-2.0",
    "gorilla_apibench_huggingface": "Apache-2.0",
    "gorilla_apibench_tensorflowhub": "Apache-2.0",
    "gorilla_apibench_torchhub": "Apache-2.0",
    "gsm8k_train": "MIT",
    "llm_adapters_math_cot": "ODC-By-1.0",
    "mtbench_judge_single_zh": "Apache-2.0",
    "mtbench_judge_vicuna_zh": "Apache-2.0",
    "rllm_aime": "MIT",
    "rllm_leetcode": "MIT",
    "rllm_math": "MIT",
    "rllm_zebra": "MIT",
}
"""Sets of prompts that models are distilled with, from which purposes may be learned, with their licences."""

_ACCOUNTS: Mapping[str, int] = {
    "awesome_chatgpt_prompts": 45,
    "banking77_promptsource": 6,
    "bfcl_live": 60,
    "chatbot_arena_2023": 45,
    "clinc150": 60,
    "hh_harmless_base_test": 90,
    "specstory_minsky": 20,
    "swe_agent_trajectories": 20,
    "t0_p3_templates": 1,
}
"""Accounts made of each source, or of each template of it: by how much text there is, and fewer where
it was selected or is one person's."""

_BY_TEMPLATE = ("banking77_promptsource", "t0_p3_templates")
"""Sources of many customers: each template is a kind of account of its own."""

REPEATED = (1, 1, 2, 4, 8, 16, 40)
"""Different prompts of accounts that repeat themselves: monitors, stuck clients, evaluation harnesses."""

_REPEATING_SHARE = 1 / 6  # of each part's accounts

GENERATOR = "streams.simulate"
"""Source of the accounts that the built-in generator writes."""

NONSENSE = "nonsense"
"""Kind of word salad. It needs no source: ordinary prompts with their words shuffled are that."""

_BATCH = 2048
_CHUNKS = 8  # of the templates of one source, left out together
_LEARNED = 1200  # prompts of a source that are learned from: four runs of it
_LEARNED_OF_A_TEMPLATE = 150
_FEWEST_LEARNED = 20
_SHUFFLED = 150
_ANSWERS = ("agent_observation", "self_chat_tool_result")  # what tools answered says nothing about who asks
_FOLDS = 20  # groups of accounts that are each a kind of their own: leaving out a twentieth is enough
_FEWEST_ROWS = 64
_CROWDS, _GENERATED_CROWDS, _MIXED_CROWDS = 8, 64, 200
_MOST_EXCHANGES = 1100  # some accounts must use a whole window, or nothing is known of its later looks


class Part(NamedTuple):
    """Accounts of one kind.

    Attributes
    ----------
    group : str
        The kind: what is left out together when the profile is fitted. Empty: each account is its own.
    source : str
        Data set.
    unit : str
        What is left out when purposes are learned for these accounts: the data set, or a chunk of its
        templates, where those come from many hands.
    prompts : PromptSource
    accounts, most_exchanges : int
    """

    group: str
    source: str
    unit: str
    prompts: PromptSource
    accounts: int
    most_exchanges: int


def build_profile(
    directory: Path | None, *, version: str, accounts: int = 2000, seed: int = 7, key: bytes = b"reference"
) -> Profile:
    """Compose reference accounts and fit a profile to them.

    Parameters
    ----------
    directory : Path or None
        Folder with prompt files (`*.jsonl.gz`), of which `LICENCES` are used; None leaves them out.
    version : str
        Name of the profile.
    accounts : int
        Accounts of the built-in generator. Count.
    seed : int
        Of all composition.
    key : bytes
        Hash secret. It does not matter: every statistic compared has the same distribution under any.

    Returns
    -------
    Profile
        The same for the same arguments and files.
    """
    with tempfile.TemporaryDirectory() as folder:
        parts = [Part("", GENERATOR, GENERATOR, BuiltinPrompts(), accounts, _MOST_EXCHANGES)]
        learner = None
        if directory is not None:
            parts += list(_file_parts(directory, Path(folder)))
            learner = Learner([*prompt_sets(directory, {*LICENCES, *QUERY_SETS}), generated_prompts(seed)])
        parts += [repeating(part) for part in parts if part.source not in _BY_TEMPLATE]
        purposes = learner.learn() if learner else NO_PURPOSES
        # What a source's accounts look like to weights that were learned from it says nothing.
        unseen = {
            unit: learner.learn(without=[unit]) if learner and unit != GENERATOR else purposes
            for unit in sorted({part.unit for part in parts})
        }
        population = [
            (part, account)
            for number, part in enumerate(parts)
            for account in ordinary_accounts(
                part, seed=seed * 1000 + number, key=key, purposes=unseen[part.unit]
            )
        ]
    return fit_population(
        population, purposes, version=version, provenance=_provenance(population, seed, purposes.kinds)
    )


def repeating(part: Part) -> Part:
    """A sixth as many accounts that send a few of the part's prompts over and over: a kind of their own."""
    return part._replace(
        group=f"{part.source}/repeating",
        prompts=Repeating(part.prompts, REPEATED),
        accounts=max(2, round(part.accounts * _REPEATING_SHARE)),
        most_exchanges=_MOST_EXCHANGES,
    )


def fit_population(
    population: Sequence[tuple[Part, list[Observation]]],
    purposes: PurposeModel,
    *,
    version: str,
    provenance: Provenance,
) -> Profile:
    """Fit a profile to ordinary accounts; see `all_limits` and `detectors.fitting.fit`."""
    limits, unseen = all_limits(population, purposes.kinds)
    profile = fit(
        account_reference(population, unseen),
        limits,
        version=version,
        provenance=provenance,
        purposes=purposes,
    )
    pools = fit(
        pool_reference(population, unseen), limits, version=version, provenance=provenance, purposes=purposes
    )
    return msgspec.structs.replace(profile, pools=Pools(pools.detectors, pools.ever))


def pool_reference(
    population: Sequence[tuple[Part, list[Observation]]], limits: Mapping[str, Ceilings]
) -> list[Trajectory]:
    """Scores of ordinary pools, made of the accounts of a population; `limits` by unit."""
    accounts: dict[str, list[Member]] = defaultdict(list)
    for part, account in population:
        repeats = part.group == f"{part.source}/repeating"
        accounts[part.group if repeats else part.source].append((part.unit, account))
    crowds = ordinary_crowds(
        accounts,
        seed=len(population),
        each=_CROWDS,
        mixed=_MIXED_CROWDS,
        most_of={GENERATOR: _GENERATED_CROWDS},
    )
    return [
        trajectory(
            f"{GENERATOR}/{number % _FOLDS}" if crowd.group == GENERATOR else crowd.group,
            crowd.observations,
            limits[crowd.unit],
        )
        for number, crowd in enumerate(crowds)
    ]


def account_reference(
    population: Sequence[tuple[Part, list[Observation]]], limits: Mapping[str, Ceilings]
) -> list[Trajectory]:
    """Scores of a population, each account under its group; `limits` by unit."""
    return [
        trajectory(part.group or f"{part.source}/{number % _FOLDS}", account, limits[part.unit])
        for number, (part, account) in enumerate(population)
    ]


def all_limits(
    population: Sequence[tuple[Part, list[Observation]]], names: tuple[str, ...]
) -> tuple[Ceilings, dict[str, Ceilings]]:
    """Limits that ordinary accounts stay below; and by unit, those of a time when it was not known.

    Parameters
    ----------
    population : sequence of Part and observations
        Accounts; the purposes of each must have been read with weights learned without its source.
    names : tuple of str
        Of the kinds of query sets that weights were learned for.
    """
    kinds = len(names)
    reached: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for part, account in population:
        reached[part.unit].append(purpose_reach(account, kinds))
    limits = dataclasses.replace(
        ceilings(account for _, account in population),
        purpose=purpose_limits(reached, kinds),
        purposes=names,
    )
    # Limits, too, are those of a time when the account's source was not known. Made-up traffic is no
    # source that could have been unknown: what the generator's prose looks like says nothing about others.
    recorded = {part.unit for part, _ in population} - {GENERATOR}
    unseen = {
        unit: dataclasses.replace(
            limits,
            purpose=purpose_limits({name: of for name, of in reached.items() if name != unit}, kinds),
        )
        if kinds and unit in recorded
        else limits
        for unit in reached
    }
    return limits, unseen


def generated_prompts(seed: int) -> PromptSet:
    """Ordinary prompts of the built-in generator: most of the reference, so they must look ordinary."""
    spec = SimulationSpec(accounts=200, days=14, seed=seed, extraction_share=0, exchanges=20)
    texts = [
        event["messages"][-1]["content"]
        for event in compose(spec, BuiltinPrompts())
        if isinstance(event["messages"][-1]["content"], str)
    ]
    return PromptSet(GENERATOR, "", "", _runs([text for text in texts if text], _LEARNED))


def prompt_sets(directory: Path, sources: Collection[str]) -> list[PromptSet]:
    """Labelled prompts of some sources to learn purposes from, and shuffled ones as word salad.

    Parameters
    ----------
    directory : Path
        Folder with prompt files.
    sources : collection of str
        Those to take.
    """
    texts: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for path in sorted(directory.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                if row["source"] not in sources or row["label"] == "other_abuse" or not row["text"]:
                    continue
                if row["kind"] in _ANSWERS:
                    continue
                part = row.get("group") if row["source"] in _BY_TEMPLATE else None
                kind = row["kind"] if row["label"] == "extraction" else ""
                texts[row["source"], part or "", kind].append(row["text"])
    sources_of: dict[str, set[str]] = defaultdict(set)
    for source, _, kind in texts:
        sources_of[kind].add(source)
    found = []
    unit_of = _units((source, part) for source, part, _ in texts)
    for (source, part, kind), rows in sorted(texts.items()):
        # Of a kind with one source nothing shows that the kind was learned and not the source.
        alone = kind not in ("", NONSENSE) and len(sources_of[kind]) < 2
        if len(rows) < _FEWEST_LEARNED or alone:
            continue
        taken = _runs(rows, _LEARNED_OF_A_TEMPLATE if part else _LEARNED)
        unit = unit_of[source, part]
        found.append(PromptSet(unit, part, kind, taken))
        if not kind and not part:
            rng = random.Random(f"shuffled/{source}")
            salad = [_shuffled(text, rng) for text in taken[:_SHUFFLED]]
            found.append(PromptSet(unit, part, NONSENSE, salad))
    return found


def _units(parts: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """By source and template, what is left out together: neighbours in the order of names share data."""
    templates: dict[str, set[str]] = defaultdict(set)
    for source, template in parts:
        templates[source].add(template)
    units = {}
    for source, names in templates.items():
        for number, name in enumerate(sorted(names)):
            units[source, name] = f"{source}/{number * _CHUNKS // len(names)}" if name else source
    return units


def _runs(rows: list[str], most: int) -> list[str]:
    """Four runs of neighbours, spread over the source, where it has more than is learned from."""
    if len(rows) <= most:
        return rows
    run = most // 4
    starts = [(len(rows) - run) * number // 3 for number in range(4)]
    return [text for start in starts for text in rows[start : start + run]]


def _shuffled(text: str, rng: random.Random) -> str:
    words = text.split()
    rng.shuffle(words)
    return " ".join(words)


def ordinary_accounts(
    part: Part, *, seed: int, key: bytes, purposes: PurposeModel = NO_PURPOSES
) -> list[list[Observation]]:
    """Observations of a part's accounts, in event-time order, by account id."""
    spec = SimulationSpec(
        accounts=part.accounts,
        days=14,
        seed=seed,
        extraction_share=0,
        exchanges=min(150, part.most_exchanges / 2),
        spread=1.2,
        min_exchanges=16,
        max_exchanges=part.most_exchanges,
    )
    return [account for _, account in sorted(observed(spec, part.prompts, key, purposes).items())]


def observed(
    spec: SimulationSpec, prompts: PromptSource, key: bytes, purposes: PurposeModel = NO_PURPOSES
) -> dict[str, list[Observation]]:
    """Observations of simulated traffic by account, each in event-time order."""
    observer = Observer(key, purposes=purposes)
    accounts: dict[str, list[Observation]] = defaultdict(list)
    for events in _batches(spec, prompts):
        seen = rows_to_observations(
            [event.account_id for event in events],
            [event.event_id for event in events],
            observer.observe(events),
        )
        for one in seen:
            accounts[one.account].append(one)
    return accounts


def _batches(spec: SimulationSpec, prompts: PromptSource) -> Iterator[list[RequestEvent]]:
    batch: list[RequestEvent] = []
    for event in compose(spec, prompts):
        batch.append(msgspec.convert(event, RequestEvent))
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _file_parts(directory: Path, folder: Path) -> Iterator[Part]:
    """One part per data set, or per template of it; each is written to a folder of its own."""
    rows: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in sorted(directory.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                if row["source"] in LICENCES and row["label"] == "benign":
                    template = row.get("group") if row["source"] in _BY_TEMPLATE else None
                    rows[row["source"], template or ""].append(line)
    missing = sorted(set(LICENCES) - {source for source, _ in rows})
    if missing:
        raise StreamsError(
            f"{directory}: no prompts of {', '.join(missing)}; give the folder that holds them"
        )
    unit_of = _units(rows)
    for number, ((source, template), lines_of) in enumerate(sorted(rows.items())):
        if len(lines_of) < _FEWEST_ROWS:
            continue
        place = folder / str(number)
        place.mkdir()
        with gzip.open(place / "part.jsonl.gz", "wt", encoding="utf-8") as out:
            out.writelines(lines_of)
        yield Part(
            f"{source}/{template}" if template else source,
            source,
            unit_of[source, template],
            FilePrompts(place),
            _ACCOUNTS[source],
            min(_MOST_EXCHANGES, len(lines_of)),
        )


def _provenance(
    population: Sequence[tuple[Part, list[Observation]]], seed: int, kinds: Sequence[str]
) -> Provenance:
    count: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for part, account in population:
        count[part.source][0] += 1
        count[part.source][1] += len(account)
    learned = tuple(Source(name, licence, 0, 0) for name, licence in sorted(QUERY_SETS.items()))
    return Provenance(
        built=f"streams.profile.build_profile, seed {seed}; kinds left out one by one",
        sources=tuple(
            Source(name, LICENCES.get(name, "Apache-2.0"), accounts, exchanges)
            for name, (accounts, exchanges) in sorted(count.items())
        )
        + (learned if kinds else ()),
    )
