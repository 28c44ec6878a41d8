"""Composed events fit the contract, come in order, are the same for the same seed, and are labelled."""

import collections
import csv
import dataclasses
import datetime as dt
import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import msgspec
import orjson
import pytest

import detectors
from detectors.events import RequestEvent
from streams.simulate import BuiltinPrompts, FilePrompts, SimulationSpec, SpecError, compose, labels_csv, live
from streams.simulate.source import CLASSES, MODES, PROBING
from tests.streams.simulate.prompt_files import small_folder

SCHEMA = Path(detectors.__file__).parent / "contracts" / "request-event.schema.json"
SMALL = SimulationSpec(accounts=60, days=3, extraction_share=0.5, exchanges=15, shards=5, seed=3)

DIGEST = """
import hashlib, orjson
from streams.simulate import BuiltinPrompts, SimulationSpec, compose, labels_csv
spec = SimulationSpec(accounts=60, days=3, extraction_share=0.5, exchanges=15, shards=5, seed=3)
composed = compose(spec, BuiltinPrompts())
digest = hashlib.sha256()
for event in composed:
    digest.update(orjson.dumps(event))
digest.update(labels_csv(composed.labels).encode())
print(digest.hexdigest())
"""


@pytest.fixture(scope="module")
def built_in():
    composed = compose(SMALL, BuiltinPrompts())
    return composed, list(composed)


@pytest.fixture(scope="module")
def from_files(tmp_path_factory):
    folder = small_folder(tmp_path_factory.mktemp("prompts"))
    composed = compose(SMALL, FilePrompts(folder))
    return composed, list(composed)


@pytest.fixture(scope="module")
def validator():
    schema = json.loads(SCHEMA.read_bytes())
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())


@pytest.mark.parametrize("source", ["built_in", "from_files"])
def test_every_event_fits_the_contract(source, request, validator):
    _, events = request.getfixturevalue(source)
    decode = msgspec.json.Decoder(RequestEvent).decode
    for event in events:
        validator.validate(event)
        decode(orjson.dumps(event))


def test_events_come_in_time_order_within_the_span(built_in):
    composed, events = built_in
    times = [dt.datetime.fromisoformat(event["time"]) for event in events]
    assert times == sorted(times)
    assert SMALL.start <= times[0]
    assert times[-1] < SMALL.start + dt.timedelta(days=SMALL.days)
    assert len(events) == len(composed)


def test_event_ids_are_unique_and_times_in_milliseconds(built_in):
    _, events = built_in
    assert len({event["event_id"] for event in events}) == len(events)
    assert {len(event["time"]) for event in events} == {len("2026-03-02T00:00:00.000Z")}


def test_same_seed_same_bytes_whatever_the_hash_seed():
    digests = set()
    for hash_seed in ("0", "1234"):
        ran = subprocess.run(
            [sys.executable, "-c", DIGEST],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        digests.add(ran.stdout.strip())
    composed = compose(SMALL, BuiltinPrompts())
    digest = hashlib.sha256(b"".join(orjson.dumps(event) for event in composed))
    digest.update(labels_csv(composed.labels).encode())
    assert digests == {digest.hexdigest()}


@pytest.mark.parametrize("source", ["built_in", "from_files"])
def test_a_second_pass_gives_the_same_events(source, request):
    composed, events = request.getfixturevalue(source)
    assert list(composed) == events


def test_another_seed_gives_other_events(built_in):
    _, events = built_in
    other = list(compose(dataclasses.replace(SMALL, seed=4), BuiltinPrompts()))
    assert not {event["account_id"] for event in other} & {event["account_id"] for event in events}


def test_changing_an_event_does_not_change_later_ones(built_in):
    composed, events = built_in
    spoilt = []
    for event in composed:
        spoilt.append(json.loads(json.dumps(event)))
        for part in ("params", "client", "usage"):
            if event.get(part) is not None:
                event[part].clear()
        for message in event["messages"][-1:]:
            message["content"] = ""
    assert spoilt == json.loads(json.dumps(events))


def test_every_account_is_labelled_once(built_in):
    composed, events = built_in
    labelled = [label.account_id for label in composed.labels]
    assert sorted(labelled) == sorted({event["account_id"] for event in events})
    assert {label.label for label in composed.labels} == {"benign", "extraction"}
    for label in composed.labels:
        if label.label == "benign":
            assert label.kind in CLASSES
            assert (label.mode, label.campaign) == ("", "")
        else:
            assert label.kind in BuiltinPrompts().kinds
            assert label.mode in MODES
            assert bool(label.campaign) == (label.mode == "sharded")


def test_labels_file_has_the_columns_evaluate_reads(built_in):
    composed, _ = built_in
    rows = list(csv.DictReader(io.StringIO(labels_csv(composed.labels))))
    assert list(rows[0]) == ["account_id", "label", "kind", "campaign"]
    assert len(rows) == SMALL.accounts
    assert sum(row["label"] == "extraction" for row in rows) == 30


def test_account_ids_sort_independently_of_labels():
    labels = compose(dataclasses.replace(SMALL, accounts=400, exchanges=8), BuiltinPrompts()).labels
    ranks = [rank for rank, label in enumerate(sorted(labels)) if label.label == "extraction"]
    assert 170 < sum(ranks) / len(ranks) < 230  # half of them, so 199.5 on average, with deviation 8


def test_campaigns_have_the_size_asked_for_and_one_kind():
    spec = dataclasses.replace(SMALL, accounts=100, modes={"sharded": 1}, shards=10)
    campaigns = collections.defaultdict(list)
    for label in compose(spec, BuiltinPrompts()).labels:
        if label.label == "extraction":
            campaigns[label.campaign].append(label.kind)
    assert sorted(len(kinds) for kinds in campaigns.values()) == [10] * 5
    assert all(len(set(kinds)) == 1 and kinds[0] != PROBING for kinds in campaigns.values())


def _texts(composed, wanted):
    accounts = {label.account_id for label in composed.labels if wanted(label)}
    texts = collections.defaultdict(list)
    for event in composed:
        if event["account_id"] in accounts:
            texts[event["account_id"]].append(event["messages"][-1]["content"])
    return texts


def test_cover_is_mixed_in_as_asked(tmp_path):
    spec = dataclasses.replace(
        SMALL, modes={"covered": 1}, cover=0.75, exchanges=80, min_exchanges=40, kinds=("rubric_grading",)
    )
    composed = compose(spec, FilePrompts(small_folder(tmp_path, size=3000)))
    texts = _texts(composed, lambda label: label.label == "extraction")
    shares = [sum(text.startswith("Grade answer") for text in said) / len(said) for said in texts.values()]
    assert all(0 < share <= 0.27 for share in shares)
    assert 0.2 < sum(shares) / len(shares) < 0.26


def test_accounts_of_one_source_do_not_share_prompts_while_it_lasts(tmp_path):
    spec = dataclasses.replace(SMALL, modes={"sharded": 1, "paced": 1}, exchanges=20)
    composed = compose(spec, FilePrompts(small_folder(tmp_path, size=3000)))
    texts = _texts(composed, lambda label: label.label == "extraction")
    said = [text for account in texts.values() for text in account]
    assert len(said) == len(set(said))
    assert not {"sums", "grades"} & set(composed.reused)


def test_benign_accounts_keep_to_one_source_and_extraction_to_one_set(from_files):
    composed, _ = from_files
    beginnings = ("what about", "ann asks", "bob asks", "cy asks", "Label:", "film", "line", "Sum", "Grade")
    for label in composed.labels:
        if label.mode == "covered":
            continue
        for said in _texts(composed, lambda one, this=label: one is this).values():
            found = {start for text in said for start in beginnings if text.startswith(start)}
            assert len(found) == 1 or found <= {"ann asks", "bob asks", "cy asks"}


def test_hidden_accounts_have_no_probing_parameters():
    spec = dataclasses.replace(SMALL, accounts=200, classes={"person": 1}, modes={"covered": 1, "sharded": 1})
    composed = compose(spec, BuiltinPrompts())
    biased = {event["account_id"] for event in composed if (event.get("params") or {}).get("logit_bias")}
    assert biased == set()


def test_probing_shows_in_parameters():
    spec = dataclasses.replace(SMALL, modes={"overt": 1}, kinds=(PROBING,))
    composed = compose(spec, BuiltinPrompts())
    swept = collections.defaultdict(set)
    for event in composed:
        swept[event["account_id"]].add(json.dumps(event.get("params"), sort_keys=True))
    for label in composed.labels:
        if label.label == "extraction":
            assert len(swept[label.account_id]) > 5


def test_histories_repeat_what_was_said(built_in):
    _, events = built_in
    longest = max(events, key=lambda event: len(event["messages"]))
    roles = [message["role"] for message in longest["messages"] if message["role"] != "system"]
    assert len(roles) > 4
    assert roles[-1] in ("user", "tool")
    assert "assistant" in roles


def test_whole_conversations_stay_together(built_in):
    _, events = built_in
    owners = collections.defaultdict(set)
    for event in events:
        if event.get("conversation_id"):
            owners[event["conversation_id"]].add(event["account_id"])
    assert all(len(accounts) == 1 for accounts in owners.values())


def test_shortest_span_and_smallest_population():
    spec = SimulationSpec(accounts=1, days=0.001, extraction_share=0, exchanges=30, min_exchanges=30)
    events = list(compose(spec, BuiltinPrompts()))
    assert len({event["account_id"] for event in events}) == 1
    last = dt.datetime.fromisoformat(events[-1]["time"])
    assert last < spec.start + dt.timedelta(days=0.001)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_all_benign_or_all_extracting(share):
    spec = dataclasses.replace(SMALL, extraction_share=share)
    labels = compose(spec, BuiltinPrompts()).labels
    assert {label.label for label in labels} == {"extraction" if share else "benign"}


# -- wrong specifications ------------------------------------------------------------------------


def test_all_problems_are_told_at_once():
    with pytest.raises(SpecError) as caught:
        SimulationSpec(
            accounts=0, days=float("nan"), cover=1.0, linked=1.5, shards=1, extraction_share=-0.1, turnover=2,
            start=SMALL.start.replace(tzinfo=None), modes={"loud": 1}, classes={"person": -1}, kinds=(),
            min_exchanges=9, max_exchanges=3,
        )  # fmt: skip
    told = {problem.where for problem in caught.value.problems}
    assert told == {
        "accounts", "days", "cover", "linked", "shards", "extraction_share", "turnover", "start",
        "modes.loud", "classes.person", "kinds", "max_exchanges",
    }  # fmt: skip
    assert isinstance(caught.value, ValueError)
    assert all(problem.fix for problem in caught.value.problems)
    assert "accounts: 0 cannot be used" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"kinds": ("nonsense", "no_such")}, "kinds"),
        ({"classes": {"other_abuse": 1}}, "classes"),
        ({"kinds": (PROBING,)}, "modes"),
    ],
)
def test_what_the_prompts_cannot_give_is_refused(changes, where):
    with pytest.raises(SpecError) as caught:
        compose(dataclasses.replace(SMALL, **changes), BuiltinPrompts())
    assert {problem.where for problem in caught.value.problems} == {where}


def test_default_classes_are_those_with_prompts(tmp_path):
    folder = small_folder(tmp_path)
    (folder / "benign_rest.jsonl.gz").unlink()
    labels = compose(SMALL, FilePrompts(folder)).labels
    assert {label.kind for label in labels if label.label == "benign"} == {"person"}


# -- live ----------------------------------------------------------------------------------------


def test_live_stream_is_never_in_the_future_and_has_the_rate_asked_for():
    now = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
    stream = live(BuiltinPrompts(), now=now, rate=200, duration_s=30)
    events = list(stream)
    assert len(events) == len(stream)
    assert sum(wait for wait, _ in events) == pytest.approx(30)
    assert len(events) / 30 == pytest.approx(200, rel=0.02)
    times = [dt.datetime.fromisoformat(event["time"]) for _, event in events]
    assert times == sorted(times)
    assert times[-1] <= now
    assert now - times[0] > dt.timedelta(days=5)


def test_most_hidden_accounts_of_a_live_stream_show_enough():
    stream = live(BuiltinPrompts(), now=dt.datetime(2026, 5, 1, tzinfo=dt.UTC))
    counts = collections.Counter(event["account_id"] for _, event in stream)
    hidden = [counts[label.account_id] for label in stream.labels if label.label == "extraction"]
    assert len(hidden) == 30
    assert sum(50 <= count <= 150 for count in hidden) > 20


def test_live_stream_without_enough_events_is_refused():
    with pytest.raises(SpecError, match="fewer events"):
        live(BuiltinPrompts(), now=dt.datetime(2026, 5, 1, tzinfo=dt.UTC), rate=1, duration_s=10)


@pytest.mark.parametrize(("linked", "low", "high"), [(0.0, 0, 0.1), (0.5, 0.3, 0.7), (1.0, 1, 1)])
def test_a_share_of_each_campaigns_accounts_pays_with_one_card(linked, low, high):
    spec = dataclasses.replace(SMALL, accounts=200, modes={"sharded": 1}, shards=50, linked=linked)
    traffic = compose(spec, BuiltinPrompts())
    members = collections.defaultdict(set)
    for label in traffic.labels:
        if label.campaign:
            members[label.campaign].add(label.account_id)
    cards = {
        event["account_id"]: (event.get("account") or {}).get("payment_fingerprint") for event in traffic
    }
    for accounts in members.values():
        paid = collections.Counter(cards[account] for account in accounts if cards.get(account))
        assert low <= max(paid.values()) / len(accounts) <= high
