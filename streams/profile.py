"""Builds the reference population that accounts are compared with, out of simulated and recorded prompts.

Most of it is traffic of the built-in generator; the rest has prompts of public data sets under
licences that allow it, paced and dressed like the first. Only numbers get into a profile. Data sets
that are not listed here are left for measuring it. A provider does better with a profile of its own
ordinary accounts: see `detectors.fitting.fit`.
"""

import gzip
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from detectors.calibration import Profile, Provenance, Source
from detectors.events import RequestEvent
from detectors.fitting import Trajectory, ceilings, fit, trajectory
from detectors.observation import Observation, rows_to_observations
from detectors.observe import Observer
from detectors.registry import Ceilings
from streams.errors import StreamsError
from streams.simulate import BuiltinPrompts, FilePrompts, PromptSource, SimulationSpec, compose

LICENCES: Mapping[str, str] = {
    "awesome_chatgpt_prompts": "CC0-1.0",
    "banking77_promptsource": "CC-BY-4.0, Apache-2.0",
    "bfcl_live": "Apache-2.0",
    "chatbot_arena_2023": "Apache-2.0",
    "clinc150": "CC-BY-3.0",
    "hh_harmless_base_test": "MIT",
    "specstory_minsky": "MIT",
    "swe_agent_trajectories": "MIT",
}
"""Benign sources that may go into a profile, with their licences."""

_ACCOUNTS: Mapping[str, int] = {
    "awesome_chatgpt_prompts": 45,
    "banking77_promptsource": 6,
    "bfcl_live": 60,
    "chatbot_arena_2023": 45,
    "clinc150": 60,
    "hh_harmless_base_test": 90,
    "specstory_minsky": 20,
    "swe_agent_trajectories": 20,
}
"""Accounts made of each source, or of each template of it: by how much text there is, and fewer where
it was selected or is one person's."""

_BY_TEMPLATE = ("banking77_promptsource",)
"""Sources of many customers: each template is a kind of account of its own."""

_BATCH = 2048
_FOLDS = 20  # groups of accounts that are each a kind of their own: leaving out a twentieth is enough
_FEWEST_ROWS = 64
_MOST_EXCHANGES = 1100  # some accounts must use a whole window, or nothing is known of its later looks


class Part(NamedTuple):
    """Accounts of one kind.

    Attributes
    ----------
    group : str
        The kind: what is left out together when the profile is fitted. Empty: each account is its own.
    source : str
        Data set.
    prompts : PromptSource
    accounts, most_exchanges : int
    """

    group: str
    source: str
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
        parts = [Part("", "streams.simulate", BuiltinPrompts(), accounts, _MOST_EXCHANGES)]
        if directory is not None:
            parts += list(_file_parts(directory, Path(folder)))
        population = [
            (part, account)
            for number, part in enumerate(parts)
            for account in ordinary_accounts(part, seed=seed * 1000 + number, key=key)
        ]
    limits = ceilings(account for _, account in population)
    return fit(
        trajectories(population, limits), limits, version=version, provenance=_provenance(population, seed)
    )


def trajectories(population: Sequence[tuple[Part, list[Observation]]], limits: Ceilings) -> list[Trajectory]:
    """Scores of a population, each account under its group."""
    return [
        trajectory(part.group or f"{part.source}/{number % _FOLDS}", account, limits)
        for number, (part, account) in enumerate(population)
    ]


def ordinary_accounts(part: Part, *, seed: int, key: bytes) -> list[list[Observation]]:
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
    return [account for _, account in sorted(observed(spec, part.prompts, key).items())]


def observed(spec: SimulationSpec, prompts: PromptSource, key: bytes) -> dict[str, list[Observation]]:
    """Observations of simulated traffic by account, each in event-time order."""
    observer = Observer(key)
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
            FilePrompts(place),
            _ACCOUNTS[source],
            min(_MOST_EXCHANGES, len(lines_of)),
        )


def _provenance(population: Sequence[tuple[Part, list[Observation]]], seed: int) -> Provenance:
    count: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for part, account in population:
        count[part.source][0] += 1
        count[part.source][1] += len(account)
    return Provenance(
        built=f"streams.profile.build_profile, seed {seed}; kinds left out one by one",
        sources=tuple(
            Source(name, LICENCES.get(name, "Apache-2.0"), accounts, exchanges)
            for name, (accounts, exchanges) in sorted(count.items())
        ),
    )
