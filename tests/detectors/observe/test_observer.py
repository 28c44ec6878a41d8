"""Rows as a whole: pure functions of event and key, in any batch, process and order; no text in them."""

import hashlib
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.errors import ConfigError
from detectors.events import AccountFacts, Client, Params, Usage
from detectors.observation import (
    FLAG_SYSTEM,
    FLAG_TRUNCATED,
    ROLE_ASSISTANT,
    ROLE_USER,
    ROW,
    rows_to_observations,
)
from detectors.observe import Observer
from detectors.observe import observer as module
from tests.detectors.observe.samples import KEY, TEXTS, exchange, observer, prose, row, same

HASHES = [
    name
    for name, (kind, *_) in ROW.fields.items()
    if kind == np.dtype("<u8") or name in ("bucket", "sketch", "vocabulary")
]
NUMBERS = [name for name in ROW.names if name not in HASHES]

FULL = {
    "model": "m",
    "conversation_id": "c",
    "org_id": "o",
    "api_key_id": "k",
    "finish_reason": "stop",
    "params": Params(max_tokens=5, temperature=0.1, logit_bias={"7": 1}),
    "usage": Usage(input_tokens=1, output_tokens=2),
    "client": Client(ip="192.0.2.1", asn=1, user_agent="u", ja4="j", device_id="d"),
    "account": AccountFacts(created_at=5, tier="t", pathway="p", payment_fingerprint="f"),
}


def sample_events():
    """Events of every shape: each sample text alone, with instructions, in a conversation, in parts."""
    for at, text in enumerate(TEXTS):
        yield exchange(text, time=1_770_000_000_000 + at)
        yield exchange(("system", f"Be brief, {at % 3}. {text}"), ("user", text), **FULL)
        yield exchange(("user", text), ("assistant", "so"), ("tool", text), ("user", text), model=text)
        yield exchange(("user", [{"type": "text", "text": text}, text, None]))
        yield exchange(("user", None), ("assistant", text))


EVENTS = list(sample_events())
ALONE = [observer().observe([event])[0] for event in EVENTS]


@given(st.data())
@settings(max_examples=60)
def test_any_batch_gives_the_rows_of_single_events(data):
    order = data.draw(st.permutations(range(len(EVENTS))))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(EVENTS) - 1), max_size=6)))
    for start, stop in zip([0, *cuts], [*cuts, len(EVENTS)], strict=True):
        part = order[start:stop]
        rows = observer().observe([EVENTS[at] for at in part])
        assert rows.dtype == ROW
        assert all(same(found, ALONE[at]) for found, at in zip(rows, part, strict=True))


@given(st.lists(st.text(max_size=60), min_size=2, max_size=6))
def test_any_texts_give_the_same_rows_alone_and_together(texts):
    together = observer().observe([exchange(text) for text in texts])
    assert all(same(found, row(text)) for found, text in zip(together, texts, strict=True))


def test_batches_beyond_the_inner_size_are_the_same(monkeypatch):
    events = [exchange(prose(at, 30 + at), model="m") for at in range(60)]
    whole = observer().observe(events)
    monkeypatch.setattr(module, "_BATCH_BYTES", 500)
    monkeypatch.setattr(module, "_BATCH_TEXTS", 7)
    assert same(observer().observe(events), whole)


def test_no_events_no_rows():
    rows = observer().observe([])
    assert rows.dtype == ROW
    assert len(rows) == 0


def test_a_fresh_observer_gives_the_same_rows():
    assert same(Observer(KEY).observe(EVENTS), observer().observe(EVENTS))


def test_other_processes_with_other_hash_seeds_give_the_same_rows():
    program = (
        "import hashlib\n"
        "from tests.detectors.observe.samples import observer\n"
        "from tests.detectors.observe.test_observer import EVENTS\n"
        "print(hashlib.sha256(observer().observe(EVENTS).tobytes()).hexdigest(), observer().fingerprint)\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("0", "1", "4711")
    }
    here = hashlib.sha256(observer().observe(EVENTS).tobytes()).hexdigest()
    assert said == {f"{here} {observer().fingerprint}"}


class TestKey:
    def test_another_key_gives_other_hashes_and_equal_numbers(self):
        event = exchange(("system", "s t u v"), ("user", prose(1)), **FULL)
        mine, other = observer().observe([event])[0], observer(b"another key").observe([event])[0]
        assert [name for name in HASHES if same(mine[name], other[name])] == []
        assert [name for name in NUMBERS if not same(mine[name], other[name])] == []

    def test_fingerprint_names_key_and_limits_without_telling_the_key(self):
        fingerprints = {
            observer().fingerprint,
            observer(b"another key").fingerprint,
            observer(KEY, 100).fingerprint,
        }
        assert len(fingerprints) == 3
        assert Observer(KEY).fingerprint == observer().fingerprint
        assert KEY.hex() not in observer().fingerprint
        assert len(observer().fingerprint) == 16

    def test_fingerprint_names_the_version_of_the_features(self, monkeypatch):
        for name in ("FEATURE_VERSION", "ROW_VERSION"):
            with monkeypatch.context() as patch:
                patch.setattr(module, name, 99)
                assert Observer(KEY).fingerprint != observer().fingerprint

    def test_keys_of_any_length_will_do(self):
        assert len({Observer(b"x" * size).fingerprint for size in (1, 64, 65, 1000)}) == 4

    @pytest.mark.parametrize("arguments", [{"key": b""}, {"key": b"k", "text_chars": 0}])
    def test_unusable_settings_are_refused(self, arguments):
        with pytest.raises(ConfigError, match="observe: "):
            Observer(**arguments)


class TestEmptyText:
    @pytest.mark.parametrize("content", [None, "", [], [{"type": "image"}], [None, 5]])
    def test_leaves_metadata_only(self, content):
        found = row(("user", content), model="m")
        for name in ("prompt", "prefix", "suffix", "layout", "simhash", "bucket", "system", "marks", "chars"):
            assert found[name] == 0, name
        for name in ("entropy", "compression", "digits", "capitals", "symbols", "newlines"):
            assert math.isnan(found[name]), name
        assert found["words"] == 0
        assert not any(found["sketch"].tobytes() + found["vocabulary"].tobytes())
        assert found["model"] != 0
        assert (found["messages"], found["turns"], found["role"]) == (1, 1, ROLE_USER)


class TestText:
    def test_counts(self):
        found = row(("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "Naïve café, 漢字"))
        assert (found["chars"], found["words"]) == (14, 4)
        assert (found["messages"], found["turns"], found["role"]) == (4, 2, ROLE_USER)
        assert found["flags"] == FLAG_SYSTEM
        assert row("a", ("assistant", "b"))["role"] == ROLE_ASSISTANT

    def test_time_is_taken_from_the_event_and_the_place_left_to_ingest(self):
        found = row("a", time=123)
        assert (found["time_ms"], found["order_ms"], found["partition"], found["offset"]) == (123, 123, 0, 0)

    def test_history_does_not_matter_but_its_length(self):
        long, short = row("x", ("assistant", "y"), "hello there"), row("hello there")
        assert {name for name in ROW.names if not same(long[name], short[name])} == {"messages", "turns"}

    def test_prompt_tells_texts_apart_and_only_texts(self):
        assert row("a b")["prompt"] == row("a b", model="m")["prompt"] != row("a  b")["prompt"]

    def test_instructions_have_a_hash_of_their_own(self):
        first = row(("system", "be brief"), ("user", "hi"))
        assert first["system"] == row(("developer", "be brief"), ("user", "ho"))["system"] != 0
        assert first["system"] != row(("system", "be long"), ("user", "hi"))["system"]
        assert first["prompt"] == row("hi")["prompt"]
        assert row("hi")["system"] == 0

    def test_instructions_differ_beyond_what_is_searched_for_marks(self):
        hashes = {int(row(("system", "x" * 2000 + end), ("user", "hi"))["system"]) for end in "abc"}
        assert len(hashes) == 3

    def test_compression_is_that_of_the_beginning(self):
        even, uneven = "ab" * 3000, hashlib.sha512(b"seed").hexdigest()
        assert row(even)["compression"] < 0.05
        assert 0.5 < row(uneven)["compression"] < 1.2
        assert same(row("ab" * 1024 + uneven)["compression"], row("ab" * 1024 + "zzz")["compression"])
        likely, unlikely = prose(1, 300), " ".join(prose(at, 1) for at in range(300))
        assert row(likely)["compression"] < row(unlikely)["compression"]

    def test_lone_surrogates_are_read_as_they_are(self):
        assert row("\ud800 x")["chars"] == 3


class TestReadLimit:
    @pytest.mark.parametrize("text", ["x" * 101, "é" * 101, "漢" * 101, "\U0001f600" * 101, "ab cd " * 20])
    def test_rows_of_cut_texts_differ_in_length_and_flag_alone(self, text):
        limited = observer(KEY, 100)
        long, cut = limited.observe([exchange(text), exchange(text[:100])])
        assert {name for name in ROW.names if not same(long[name], cut[name])} == {"chars", "flags"}
        assert long["chars"] == len(text)
        assert (long["flags"], cut["flags"]) == (FLAG_TRUNCATED, 0)

    @pytest.mark.parametrize(
        "messages",
        [
            [("user", "word " * 2_000_000)],
            [("user", ["word " * 1000] * 2000)],
            [("user", [{"type": "text", "text": "w"}] * 200_000)],
            [("tool", "x" * 5_000_000), ("user", "y" * 5_000_000)],
            [("user", "\U0001f600" * 2_500_000)],
            [("system", "s " * 5_000_000), ("user", "hi")],
        ],
        ids=["one text", "many parts", "tiny parts", "messages", "emoji", "instructions"],
    )
    def test_of_a_huge_prompt_only_the_limit_is_read(self, messages, monkeypatch):
        read = []
        encode = module._encoded
        monkeypatch.setattr(module, "_encoded", lambda text: read.append(len(text)) or encode(text))
        found = row(*messages)
        assert sum(read) <= 2 * 8192 + 1024
        assert bool(found["flags"] & FLAG_TRUNCATED) == (messages[0][0] != "system")
        assert found["words"] <= 8192

    def test_limits_beyond_the_inner_tables_work(self):
        text = prose(3, 30_000)
        wide = observer(KEY, 1_000_000)
        long = wide.observe([exchange("x"), exchange(text), exchange("x")])
        assert long["words"].tolist() == [1, 30_000, 1]
        assert same(long[1], wide.observe([exchange(text)])[0])


def test_no_text_in_rows():
    canary = "Qwertzuiop"
    event = exchange(
        ("system", canary),
        ("user", f"{canary} {canary.lower()}\n{canary}"),
        **{**FULL, "model": canary, "client": Client(ip="192.0.2.77", user_agent=canary)},
    )
    octets = observer().observe([event]).tobytes()
    for piece in (canary[at : at + 4] for at in range(len(canary) - 3)):
        assert piece.encode() not in octets
        assert piece.lower().encode() not in octets


def test_rows_become_observations():
    seen = rows_to_observations(["a"] * len(EVENTS), ["e"] * len(EVENTS), observer().observe(EVENTS))
    assert all(type(value) in (int, float, str, bytes) for one in seen for value in one)
    assert {len(one.sketch) for one in seen} == {64}
    assert {len(one.vocabulary) for one in seen} == {32}
