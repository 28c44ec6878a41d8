"""Whatever decoding accepts, observing survives: odd values in every field, and content of any form."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.observation import ROW
from detectors.observe import Observer
from streams.codecs import EventError, EventLimits, decode_event

OBSERVER = Observer(b"a key for tests", text_chars=500)
LIMITS = EventLimits()

integers = st.one_of(
    st.integers(-5, 5), st.sampled_from([2**31, -(2**31) - 1, 2**63 - 1, -(2**63), 2**64, 10**30])
)
texts = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["", " ", "\0", "\0" * 9, "\U0001f600", "\ufeff", "字" * 200, "a" * 2000, "\u202e", "NaN"]
    ),
)
scalars = st.one_of(
    st.none(), st.booleans(), integers, st.floats(allow_nan=False, allow_infinity=False), texts
)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)
part_types = st.sampled_from(["text", "input_text", "image_url", "tool_result", "", 7, None, [], {"a": 1}])
parts = st.one_of(
    texts,
    anything,
    st.fixed_dictionaries({}, optional={"type": part_types, "text": st.one_of(texts, anything)}),
)
addresses = st.sampled_from(
    [
        "::",
        "::1",
        "fe80::1%eth0",
        "::ffff:1.2.3.4",
        "1.2.3.4",
        "01.2.3.4",
        "1.2.3",
        "999.1.1.1",
        "1.2.3.4/8",
        "x" * 999,
    ]
)
creations = st.sampled_from(
    [
        "2026-01-01T00:00:00Z",
        "2026-01-01",
        "0000-00-00",
        "9999-12-31T23:59:59+14:00",
        "0001-01-01T00:00:00+14:00",
        "?",
    ]
)


def optional(**fields):
    """An object with any of some fields, each of its usual type or something else."""
    return st.one_of(
        st.none(),
        st.fixed_dictionaries(
            {}, optional={name: st.one_of(st.none(), usual) for name, usual in fields.items()}
        ),
    )


numbers = st.one_of(integers, st.floats(allow_nan=False, allow_infinity=False))
events = st.fixed_dictionaries(
    {
        "event_id": st.just("e"),
        "time": st.one_of(
            st.just(1_770_000_000_000), st.sampled_from([0, 2**62, 2**63 - 1, "9999-12-31T23:59:59Z"])
        ),
        "account_id": st.text(min_size=1, max_size=3),
        "messages": st.lists(
            st.fixed_dictionaries(
                {
                    "role": st.one_of(
                        st.sampled_from(["user", "assistant", "system", "developer", "tool", "function"]),
                        texts,
                    ),
                    "content": st.one_of(st.none(), texts, st.lists(parts, max_size=5)),
                }
            ),
            min_size=1,
            max_size=4,
        ),
    },
    optional={
        "org_id": texts,
        "api_key_id": texts,
        "conversation_id": texts,
        "model": texts,
        "finish_reason": texts,
        "params": optional(
            max_tokens=integers,
            temperature=numbers,
            top_p=numbers,
            n=integers,
            logprobs=st.booleans(),
            top_logprobs=integers,
            logit_bias=st.dictionaries(texts, anything, max_size=4),
            seed=integers,
            stream=st.booleans(),
            tools=integers,
        ),
        "usage": optional(input_tokens=integers, output_tokens=integers),
        "client": optional(
            ip=st.one_of(addresses, texts),
            asn=integers,
            user_agent=texts,
            ja4=texts,
            device_id=texts,
            country=texts,
        ),
        "account": optional(
            created_at=st.one_of(creations, integers, texts),
            tier=texts,
            pathway=texts,
            payment_fingerprint=texts,
        ),
    },
)


def decoded(document):
    try:
        return decode_event(json.dumps(document).encode(), LIMITS)
    except EventError:
        return None


@settings(max_examples=400)
@given(documents=st.lists(events, min_size=1, max_size=3))
def test_what_is_decoded_is_observed(documents):
    accepted = [event for event in map(decoded, documents) if event is not None]
    rows = OBSERVER.observe(accepted)
    assert (rows.dtype, len(rows)) == (ROW, len(accepted))
    for name in ("digits", "capitals", "symbols", "newlines"):
        known = rows[name][~np.isnan(rows[name])]
        assert np.all((known >= 0) & (known <= 1))
    for at, event in enumerate(accepted):
        assert OBSERVER.observe([event]).tobytes() == rows[at : at + 1].tobytes()


@settings(max_examples=200)
@given(document=events, garbage=anything, data=st.data())
def test_any_field_may_be_anything(document, garbage, data):
    target = document
    while True:
        key = data.draw(st.sampled_from(sorted(target)))
        inner = target[key]
        if not isinstance(inner, dict) or not inner or data.draw(st.booleans()):
            break
        target = inner
    target[key] = garbage
    event = decoded(document)
    if event is not None:
        assert len(OBSERVER.observe([event])) == 1


def nested(depth):
    value = "deep"
    for _ in range(depth):
        value = [{"text": value}]
    return value


@pytest.mark.parametrize(
    ("content", "words", "why"),
    [
        ([{"type": ["text"], "text": "three small words"}], 0, "a type that cannot be looked up in a table"),
        ([{"type": {"a": 1}, "text": "three small words"}], 0, "likewise"),
        ([{"type": "text", "text": {"text": "three small words"}}], 0, "text that is an object"),
        ([{"type": "text", "text": None}, None, 7, True, [], [["a"]], {}], 0, "parts that are no parts"),
        ([{"type": None, "text": "three small words"}], 0, "a type that is null"),
        ([{"text": "three small words"}], 3, "no type at all"),
        (["three small", {"type": "text", "text": "words"}], 3, "mixed"),
        (nested(80), 0, "deeply nested"),
        ([{"type": "text", "text": "a b"}] * 5000, 250, "many parts, of which the limit is read"),
    ],
)
def test_odd_content(content, words, why):
    document = {
        "event_id": "e",
        "time": 1,
        "account_id": "a",
        "messages": [{"role": "user", "content": content}],
    }
    assert OBSERVER.observe([decoded(document)])["words"].tolist() == [words], why


@pytest.mark.parametrize("unit", ["a", "word ", "字", "\0", "!", "\n", "\U0001f600"], ids=ascii)
def test_huge_prompts_are_read_up_to_the_limit(unit):
    text = unit * (10_000_000 // len(unit.encode()))
    document = {
        "event_id": "e",
        "time": 1,
        "account_id": "a",
        "messages": [{"role": "user", "content": text}],
    }
    row = OBSERVER.observe(
        [decode_event(json.dumps(document, ensure_ascii=False).encode(), EventLimits(2**27))]
    )[0]
    assert row["chars"] == len(text)
    assert row["words"] <= 500
    assert row["flags"] & 64
