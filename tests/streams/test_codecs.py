"""What is accepted as a request event, compared with the contract; limits, reasons, alerts."""

import copy
import datetime as dt
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

import detectors
from detectors.alerts import Alert, Evidence, Position, Signal, Subject
from streams.codecs import (
    REASONS,
    EventError,
    EventLimits,
    check_time,
    decode_alert,
    decode_event,
    encode_alert,
)

CONTRACTS = Path(detectors.__file__).parent / "contracts"
LIMITS = EventLimits()
SECRET = "xylophone-prompt-text"
BASE = {
    "event_id": "e-1",
    "time": 1_770_000_000_000,
    "account_id": "a-1",
    "messages": [{"role": "user", "content": SECRET}],
}


def contract(name):
    schema = json.loads((CONTRACTS / f"{name}.schema.json").read_text("utf-8"))
    return Draft202012Validator(schema, format_checker=FormatChecker())


REQUEST = contract("request-event")


def refuse_constant(name):
    raise ValueError(f"{name} is not JSON")


def allowed_by_contract(value):
    """The contract's verdict on bytes."""
    try:
        document = json.loads(value.decode("utf-8"), parse_constant=refuse_constant)
    except ValueError:
        return False
    return REQUEST.is_valid(document)


def refusal(value, limits=LIMITS):
    """The error of refused bytes, or None."""
    try:
        decode_event(value, limits)
    except EventError as error:
        refused = error
    else:
        return None
    assert refused.reason in REASONS
    assert refused.detail
    assert SECRET not in str(refused)
    return refused


def event(**changes):
    """Bytes of the smallest event with some fields changed."""
    return json.dumps({**BASE, **changes}).encode()


def without(field):
    return json.dumps({name: value for name, value in BASE.items() if name != field}).encode()


def raw(field, literal):
    """The smallest event with one more field, its value written as given."""
    return json.dumps(BASE).encode()[:-1] + b',"' + field + b'":' + literal + b"}"


def content(value):
    return event(messages=[{"role": "user", "content": value}])


ACCEPTED = [
    (event(), "the required fields alone"),
    (event(schema="extraction.request/1"), "the schema may be named"),
    (event(**{"x-vendor": {"a": [1, None]}}), "unknown fields are ignored"),
    (event(time="2026-02-01T10:00:00+02:00"), "RFC 3339 with offset"),
    (event(time="2026-02-01t10:00:00.123456789z"), "RFC 3339 in lower case, with nanoseconds"),
    (event(time=0), "bounds on time are not the contract's"),
    (raw(b"time", b"1.77e12"), "a whole number may be written with an exponent; the last time counts"),
    (event(params={"n": 1.0, "max_tokens": 1e3}), "1.0 is an integer"),
    (event(params={"max_tokens": 10**18}), "large numbers are clamped later"),
    (event(params={"max_tokens": -5, "temperature": 2}), "an integer is a number"),
    (event(params=None, usage=None, client=None, account=None, model=None), "null is absent"),
    (event(params={"logit_bias": {"50256": -100, "x": [SECRET]}}), "values of a bias are not read"),
    (event(operation="embedding", finish_reason="stop", usage={"input_tokens": 3}), "optional fields"),
    (event(operation=None), "null operation"),
    (content(None), "no content"),
    (content(""), "empty content"),
    (content([]), "no parts"),
    (content([{"type": "text", "text": "hi"}, {"type": "image"}, "loose", 5, None]), "parts of any kind"),
    (content("\U0001f600 漢字 \x7f \n"), "any characters"),
    (event(event_id="\U0001f600" * 256), "256 characters, however many bytes"),
    (event(account={"created_at": "2020-01-01T00:00:00Z"}), "creation as text"),
    (event(account={"created_at": -1}), "creation as any integer"),
    (event(account={"created_at": "yesterday"}), "a creation time nobody can read is absent"),
    (b' \n{"messages":[{"content":"x","role":"u","name":"n"}],"account_id":"a","time":5,"event_id":"e"}\n',
     "order, space and fields of messages do not matter"),
    (raw(b"event_id", b'"again"'), "of a repeated field the last counts"),
]  # fmt: skip

REFUSED = [
    (b"", "empty", "tombstone"),
    (b"   ", "not_json", "only space"),
    (b"hello " + SECRET.encode(), "not_json", "not JSON"),
    (event()[:-1], "not_json", "cut off"),
    (content("\ud800")[:-9], "not_json", "cut off after half a surrogate pair"),
    (event() + event(), "not_json", "two documents"),
    (b"\xef\xbb\xbf" + event(), "not_json", "byte order mark"),
    (raw(b"params", b'{"temperature":NaN}'), "not_json", "NaN is not JSON"),
    (raw(b"params", b'{"temperature":-Infinity}'), "not_json", "nor is infinity"),
    (event().replace(b"xylo", b"xy\x01o"), "not_json", "raw control character"),
    (event().replace(b"xylo", b"\xff\xfe"), "bad_utf8", "not UTF-8"),
    (event().replace(b"xylo", b"\xed\xa0\x80"), "bad_utf8", "surrogate in UTF-8"),
    (event().replace(b"xylo", b"\xc0\x80"), "bad_utf8", "overlong zero"),
    (b"null", "wrong_type", "null"),
    (b"[]", "wrong_type", "array"),
    (json.dumps(SECRET).encode(), "wrong_type", "text"),
    (b"17", "wrong_type", "number"),
    (without("event_id"), "missing_field", "no event_id"),
    (without("time"), "missing_field", "no time"),
    (without("account_id"), "missing_field", "no account_id"),
    (without("messages"), "missing_field", "no messages"),
    (event(messages=[{"content": SECRET}]), "missing_field", "message without role"),
    (event(messages=[{"role": "user"}]), "missing_field", "message without content"),
    (event(account_id=None), "wrong_type", "null account"),
    (event(account_id=17), "wrong_type", "number as account"),
    (event(account_id=""), "out_of_range", "empty account"),
    (event(event_id="x" * 257), "out_of_range", "long id"),
    (event(messages=[]), "out_of_range", "no message"),
    (event(messages=None), "wrong_type", "null messages"),
    (event(messages={"role": "user", "content": SECRET}), "wrong_type", "message instead of messages"),
    (event(messages=[SECRET]), "wrong_type", "text as message"),
    (content({"text": SECRET}), "wrong_type", "object as content"),
    (content(3.0), "wrong_type", "number as content"),
    (event(messages=[{"role": None, "content": SECRET}]), "wrong_type", "null role"),
    (event(schema="extraction.request/2"), "wrong_type", "another schema"),
    (event(schema=None), "wrong_type", "null schema"),
    (event(operation=SECRET), "wrong_type", "unknown operation, not quoted"),
    (event(params={"n": 1.5}), "wrong_type", "fraction as count"),
    (event(params={"n": True}), "wrong_type", "a boolean is no integer"),
    (event(params={"stream": 1}), "wrong_type", "an integer is no boolean"),
    (event(params={"stream": 1.0}), "wrong_type", "nor is 1.0"),
    (event(params={"logit_bias": [SECRET]}), "wrong_type", "list as bias"),
    (event(params=[SECRET]), "wrong_type", "list as params"),
    (event(account={"created_at": 1.5}), "wrong_type", "fraction as time"),
    (event(time=-1), "out_of_range", "before the epoch"),
    (event(time=1.5), "wrong_type", "fraction as time"),
    (event(time=True), "wrong_type", "boolean as time"),
    (event(time=None), "wrong_type", "null time"),
    (event(time="1770000000000"), "wrong_type", "milliseconds as text"),
    (event(time="2026-02-01"), "wrong_type", "date alone"),
    (event(time="2026-02-01T10:00:00"), "wrong_type", "no offset"),
    (event(time="2026-02-30T10:00:00Z"), "wrong_type", "no such day"),
    (event(time="2016-12-31T23:59:60Z"), "wrong_type", "leap second"),
    (event(time=SECRET), "wrong_type", "text as time"),
    (raw(b"params", b'{"n":' + b"9" * 5000 + b"}"), "out_of_range", "thousands of digits"),
]  # fmt: skip


def nested(depth):
    return content([[]]).replace(b"[[]]", b"[" * depth + b"]" * depth)


NESTED_BELOW = 3  # object, messages, message

# Where we differ from the contract on purpose: name, bytes, the contract's verdict, our reason.
DIFFERENCES = [
    ("lone surrogates cannot be encoded again", content("\ud800 hi"), True, "bad_utf8"),
    ("a number beyond all floats", raw(b"params", b'{"temperature":1e400}'), True, "out_of_range"),
    ("wherever they stand", content("\ud800"), True, "bad_utf8"),
    ("nesting bombs", nested(300), True, "too_deep"),
    ("an earlier one of repeated fields is checked, too", raw(b"time", b'[],"time":5'), True, "wrong_type"),
    ("an offset without colon is unambiguous", event(time="2026-02-01T10:00:00+0100"), False, None),
    ("so is a space before the time of day", event(time="2026-02-01 10:00:00Z"), False, None),
    ("fields that are ignored are not decoded", raw(b"x", b'"\xff"'), False, None),
]


@pytest.mark.parametrize(("value", "why"), ACCEPTED, ids=[why for _, why in ACCEPTED])
def test_accepted(value, why):
    assert allowed_by_contract(value), why
    assert decode_event(value, LIMITS).event_id, why


@pytest.mark.parametrize(("value", "reason", "why"), REFUSED, ids=[why for *_, why in REFUSED])
def test_refused(value, reason, why):
    assert not allowed_by_contract(value), why
    assert refusal(value).reason == reason, why


@pytest.mark.parametrize(
    ("value", "allowed", "reason"), [row[1:] for row in DIFFERENCES], ids=[row[0] for row in DIFFERENCES]
)
def test_deliberate_differences_from_the_contract(value, allowed, reason):
    assert allowed_by_contract(value) is allowed
    error = refusal(value)
    assert (error and error.reason) == reason


def test_every_reason_is_given_by_some_record():
    few = EventLimits(max_bytes=len(event()) + 50, max_messages=1, max_parts=1, max_depth=10)
    message = {"role": "u", "content": ""}
    seen = {reason for _, reason, _ in REFUSED} | {reason for *_, reason in DIFFERENCES if reason}
    seen |= {
        refusal(event(model="x" * 100), few).reason,
        refusal(event(messages=[message, message]), few).reason,
        refusal(content(["", ""]), few).reason,
    }
    with pytest.raises(EventError) as caught:
        check_time(0, 0, 1, 0)
    seen.add(caught.value.reason)
    assert seen == set(REASONS)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (without("event_id"), "`event_id`"),
        (event(messages=[{"role": "user"}]), "`$.messages[0]`"),
        (event(account_id=5), "`$.account_id`"),
        (event(params={"n": "many"}), "`$.params.n`"),
        (event(time="noon"), "RFC 3339 with an offset"),
        (event(operation="guess"), "`$.operation`"),
        (event(event_id=""), "length >= 1"),
        (content("\ud800"), "UTF-8"),
    ],
)
def test_detail_names_the_field_or_the_fix(value, says):
    assert says in refusal(value).detail


class TestLimits:
    def test_bytes(self):
        value = event()
        assert refusal(value, EventLimits(max_bytes=len(value))) is None
        assert refusal(value, EventLimits(max_bytes=len(value) - 1)).reason == "too_large"

    def test_messages(self):
        value = event(messages=[{"role": "user", "content": SECRET}] * 3)
        assert refusal(value, EventLimits(max_messages=3)) is None
        assert refusal(value, EventLimits(max_messages=2)).reason == "too_many_messages"

    def test_parts_of_all_messages_count(self):
        value = event(messages=[{"role": "user", "content": [SECRET, SECRET]}] * 2)
        assert refusal(value, EventLimits(max_parts=4)) is None
        assert refusal(value, EventLimits(max_parts=3)).reason == "too_many_parts"

    @pytest.mark.parametrize("depth", [1, 50, 196])
    def test_depth(self, depth):
        assert refusal(nested(depth), EventLimits(max_depth=depth + NESTED_BELOW)) is None
        refused = refusal(nested(depth), EventLimits(max_depth=depth + NESTED_BELOW - 1))
        assert refused.reason == "too_deep"

    def test_depth_of_ignored_fields_counts(self):
        assert refusal(raw(b"x", b'{"y":' * 300 + b"1" + b"}" * 300)).reason == "too_deep"

    def test_brackets_in_text_are_no_depth(self):
        tricky = "[{" * 500 + '"]}\\' + "\\" * 7 + '"' + "{" * 500
        assert refusal(content([tricky, {tricky: tricky}])) is None
        for end in ("\\", "\\\\", '"', '\\"', '"\\'):
            assert refusal(content([end, "[" * 500])) is None
            assert (
                refusal(content([end, [[]]]).replace(b"[[]]", b"[" * 300 + b"]" * 300)).reason == "too_deep"
            )

    @pytest.mark.parametrize("value", [b"[" * 200_000, b'"' * 200_000, b'{"a":' * 200_000, b"[\\" * 5_000])
    def test_bombs_are_refused(self, value):
        assert refusal(value).reason in {"too_deep", "not_json", "wrong_type"}

    def test_verdict_does_not_depend_on_the_callers_depth(self):
        def deeper(left, value):
            return refusal(value) if not left else deeper(left - 1, value)

        assert deeper(300, nested(190)) is None
        assert deeper(300, nested(199)).reason == "too_deep"


def test_whole_numbers_written_as_floats_become_integers():
    decoded = decode_event(
        raw(b"params", b'{"n":2.0,"max_tokens":1e3,"temperature":1,"seed":-0.0}')[:-1] + b',"time":1.77e12}',
        LIMITS,
    )
    assert (decoded.time_ms, decoded.params.n, decoded.params.max_tokens) == (1_770_000_000_000, 2, 1000)
    assert [type(value) for value in (decoded.time, decoded.params.n, decoded.params.temperature)] == [
        int, int, float
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("time", "expected_ms"),
    [
        (1_770_000_000_123, 1_770_000_000_123),
        ("2026-02-02T02:40:00.123Z", 1_770_000_000_123),
        ("2026-02-02T03:40:00.1239+01:00", 1_770_000_000_123),
        ("1969-12-31T23:59:59.999Z", -1),
    ],
)
def test_time_either_way(time, expected_ms):
    assert decode_event(event(time=time), LIMITS).time_ms == expected_ms


EARLIEST_MS = 1_577_836_800_000  # 2020-01-01
NOW_MS = 1_770_000_000_000


@pytest.mark.parametrize(
    ("time_ms", "ok"),
    [
        (EARLIEST_MS, True),
        (EARLIEST_MS - 1, False),
        (NOW_MS + 500, True),
        (NOW_MS + 501, False),
        (0, False),
        (10**40, False),
    ],
)
def test_check_time(time_ms, ok):
    if ok:
        check_time(time_ms, NOW_MS, EARLIEST_MS, 500)
    else:
        with pytest.raises(EventError, match="time_out_of_range"):
            check_time(time_ms, NOW_MS, EARLIEST_MS, 500)


# -- properties: events the contract allows, and what becomes of them when something is changed ------

texts = st.text(max_size=20)
integers = st.integers(-(2**70), 2**70)
numbers = st.one_of(integers, st.floats(allow_nan=False, allow_infinity=False))
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
FIRST, LAST = dt.datetime(2020, 1, 1), dt.datetime(2035, 1, 1)  # noqa: DTZ001 - the strategy adds the zone
instants = st.datetimes(FIRST, LAST, timezones=st.just(dt.UTC))


def nullable(strategy):
    return st.one_of(st.none(), strategy)


def record(required=None, **optional):
    return st.fixed_dictionaries(required or {}, optional=optional)


messages = st.lists(
    record({"role": texts, "content": st.one_of(st.none(), texts, st.lists(anything, max_size=3))}),
    min_size=1,
    max_size=3,
)
valid_events = record(
    {
        "event_id": st.text(min_size=1, max_size=256),
        "time": st.one_of(st.integers(0, 2**60), instants.map(dt.datetime.isoformat)),
        "account_id": st.text(min_size=1, max_size=256),
        "messages": messages,
    },
    schema=st.just("extraction.request/1"),
    model=nullable(texts),
    org_id=nullable(texts),
    operation=st.sampled_from(["chat", "completion", "embedding", "other", None]),
    params=nullable(
        record(
            max_tokens=nullable(integers),
            n=nullable(st.one_of(integers, integers.map(float))),
            temperature=nullable(numbers),
            logprobs=nullable(st.booleans()),
            logit_bias=nullable(st.dictionaries(texts, anything, max_size=2)),
        )
    ),
    usage=nullable(record(input_tokens=nullable(integers))),
    client=nullable(record(ip=nullable(texts), asn=nullable(integers))),
    account=nullable(record(created_at=st.one_of(st.none(), texts, integers), tier=nullable(texts))),
    vendor=anything,
)


def places(document, path=()):
    """Paths of everything inside a document."""
    inside = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in inside:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


@given(valid_events)
@settings(max_examples=300)
def test_valid_events_are_accepted(document):
    value = json.dumps(document).encode()
    assert allowed_by_contract(value)
    decoded = decode_event(value, LIMITS)
    assert decoded.account_id == document["account_id"]
    assert [message.role for message in decoded.messages] == [m["role"] for m in document["messages"]]


@given(st.data())
@settings(max_examples=500)
def test_changed_events_get_the_contracts_verdict(data):
    document = copy.deepcopy(data.draw(valid_events))
    *path, last = data.draw(st.sampled_from(list(places(document))))
    inside = document
    for key in path:
        inside = inside[key]
    if data.draw(st.booleans()):
        del inside[last]
    else:
        inside[last] = data.draw(anything)
    value = json.dumps(document).encode()
    assert (refusal(value) is None) is allowed_by_contract(value)


@given(st.data())
def test_errors_never_quote_the_record(data):
    document = copy.deepcopy(BASE) | {"operation": "chat", "params": {"n": 1}, "client": {"ip": "x"}}
    *path, last = data.draw(st.sampled_from(list(places(document))))
    inside = document
    for key in path:
        inside = inside[key]
    inside[last] = data.draw(
        st.sampled_from([SECRET, [SECRET], {SECRET: SECRET}, {SECRET: {"text": 5}}, [{SECRET: 5}]])
    )
    refusal(json.dumps(document).encode())


@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,\\u0d8e1.- ', max_size=60).map(str.encode))
@settings(max_examples=300)
def test_any_bytes_are_decoded_or_refused(value):
    assert refusal(value) is not None or allowed_by_contract(value)


# -- alerts ------------------------------------------------------------------------------------------

ALERT = Alert(
    alert_id="0011",
    time="2026-02-02T02:40:00.123Z",
    subject=Subject(type="account", id="a-1", links=[{"kind": "network", "a": 1}]),
    kind="templated_harvest",
    severity="high",
    score=0.9995,
    signals=[Signal("template", 0.8, 0.1, None, 1.0, "80% of the prompts share one frame.")],
    evidence=Evidence(3, "2026-02-02T02:00:00Z", "2026-02-02T02:40:00Z", ["e-1"], [Position("t", 0, 1, 2)]),
    recommended_action="review",
    technique="AML.T0024.002",
    detector_version="1",
    config_hash="ab",
)


def test_alert_keeps_the_contract_and_comes_back_equal():
    value = encode_alert(ALERT)
    document = json.loads(value)
    contract("alert").validate(document)
    assert document["schema"] == "extraction.alert/1"
    assert decode_alert(value) == ALERT
    assert value.isascii() or value.decode("utf-8")


def test_equal_alerts_give_equal_bytes():
    swapped = msgspec.structs.replace(
        ALERT, subject=msgspec.structs.replace(ALERT.subject, links=[{"a": 1, "kind": "network"}])
    )
    assert encode_alert(swapped) == encode_alert(ALERT)


@pytest.mark.parametrize("value", [b"", b"{}", b"\xff", b"[" * 100_000, encode_alert(ALERT)[:-1]])
def test_what_is_no_alert_is_refused(value):
    with pytest.raises(ValueError, match="not an alert of version 1"):
        decode_alert(value)
