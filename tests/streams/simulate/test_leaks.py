"""Nothing but text tells hidden extraction accounts from people, and the test would notice if it did."""

import datetime as dt
import os
from pathlib import Path

import pytest

from streams.simulate import BuiltinPrompts, FilePrompts, SimulationSpec, compose
from tests.streams.simulate.leaks import auc
from tests.streams.simulate.prompt_files import small_folder

LIMIT = 0.75
_SPEC = {
    "accounts": 500,
    "extraction_share": 0.4,
    "modes": {"covered": 1, "sharded": 1},
    "classes": {"person": 1},
    "exchanges": 30,
    "shards": 15,
}


def traffic(prompts, **changes):
    composed = compose(SimulationSpec(**_SPEC | changes), prompts)
    hidden = {label.account_id for label in composed.labels if label.label == "extraction"}
    return list(composed), hidden, {label.account_id for label in composed.labels} - hidden


@pytest.fixture(scope="module")
def built_in():
    return traffic(BuiltinPrompts())


def told(record_property, value):
    record_property("auc", round(value, 3))
    print(f"AUC from metadata: {value:.3f}")
    return value


def test_metadata_of_built_in_traffic_says_nothing(built_in, record_property):
    assert told(record_property, auc(*built_in)) <= LIMIT


def test_metadata_of_composed_prompt_files_says_nothing(tmp_path, record_property):
    prompts = FilePrompts(small_folder(tmp_path, size=600))
    assert told(record_property, auc(*traffic(prompts))) <= LIMIT


@pytest.mark.parametrize("kinds", [("rubric_grading",), ("benchmark_sweep", "cot_elicitation"), None])
def test_metadata_of_real_prompts_says_nothing(kinds, record_property):
    folder = os.environ.get("DATA")
    if not folder:
        pytest.skip("DATA names no folder of prompt files")
    assert told(record_property, auc(*traffic(FilePrompts(Path(folder)), kinds=kinds))) <= LIMIT


# -- the same measurement finds what we once gave away ------------------------------------------


def _longer_answers(event, _number):
    if "usage" in event:
        event["usage"] = event["usage"] | {"output_tokens": event["usage"]["output_tokens"] * 4 + 300}


def _other_model(event, _number):
    event["model"] = "atlas-large-2"


def _one_pathway(event, _number):
    event["account"] = event.get("account", {}) | {"pathway": "research"}


def _one_network(event, number):
    event["client"] = event.get("client", {}) | {"ip": f"10.7.7.{number % 200}", "asn": 64_600}


def _named_accounts(event, _number):
    event["account_id"] = "acct_0" + event["account_id"][6:]


@pytest.mark.parametrize(
    "plant",
    [_longer_answers, _other_model, _one_pathway, _one_network, _named_accounts],
)
def test_planted_leak_is_found(built_in, plant, record_property):
    events, hidden, ordinary = built_in
    spoilt = []
    for number, event in enumerate(events):
        copy = dict(event)
        if event["account_id"] in hidden:
            plant(copy, number)
        spoilt.append(copy)
    hidden = {event["account_id"] for event in spoilt} - ordinary
    assert told(record_property, auc(spoilt, hidden, ordinary)) > 0.9


def test_planted_order_is_found(built_in, record_property):
    """Extraction accounts that all come first."""
    events, hidden, ordinary = built_in
    ordered = sorted(events, key=lambda event: event["account_id"] not in hidden)
    assert told(record_property, auc(ordered, hidden, ordinary)) > 0.9


def test_planted_pauses_are_found(built_in, record_property):
    """Extraction accounts that ask every forty seconds or so."""
    events, hidden, ordinary = built_in
    latest = {}
    spoilt = []
    for number, event in enumerate(events):
        account, time = event["account_id"], dt.datetime.fromisoformat(event["time"])
        if account in hidden:
            time = latest.get(account, time) + dt.timedelta(seconds=35 + number % 10)
        latest[account] = time
        spoilt.append(event | {"time": time.isoformat()})
    assert told(record_property, auc(spoilt, hidden, ordinary)) > 0.9
