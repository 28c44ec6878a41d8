"""Fields that are not text: numbers as they are or clamped, names as keyed hashes."""

import math

import pytest

from detectors.events import AccountFacts, Client, Params, Usage
from detectors.observation import (
    ABSENT,
    FLAG_LOGIT_BIAS,
    FLAG_LOGPROBS,
    FLAG_SEED,
    FLAG_STREAM,
    FLAG_TOOLS,
)
from detectors.observe import fields
from tests.detectors.observe.samples import exchange, observer, row, same

HUGE = 10**30


def asked(**params):
    return row("hi", params=Params(**params))


def called(**client):
    return row("hi", client=Client(**client))


def owned(**facts):
    return row("hi", account=AccountFacts(**facts))


def test_an_event_without_them_has_none():
    found = row("hi")
    for name in ("max_tokens", "choices", "top_logprobs", "logit_bias_keys", "input_tokens", "output_tokens"):
        assert found[name] == ABSENT, name
    for name in ("asn", "created_ms"):
        assert found[name] == ABSENT, name
    for name in ("temperature", "top_p"):
        assert math.isnan(found[name]), name
    hashes = "logit_bias finish model conversation organisation api_key address network client device payment"
    for name in (*hashes.split(), "tier", "pathway"):
        assert found[name] == 0, name
    assert found["flags"] == 0


def test_empty_groups_are_like_absent_ones():
    empty = row("hi", params=Params(), usage=Usage(), client=Client(), account=AccountFacts())
    assert same(empty, row("hi"))


def test_numbers_arrive():
    found = row(
        "hi",
        params=Params(max_tokens=100, temperature=0.5, top_p=0.25, n=4, top_logprobs=5),
        usage=Usage(input_tokens=7, output_tokens=9),
        client=Client(asn=64500),
        account=AccountFacts(created_at=1234),
    )
    names = ("max_tokens", "temperature", "top_p", "choices", "top_logprobs", "input_tokens", "output_tokens")
    assert [found[name] for name in names] == [100, 0.5, 0.25, 4, 5, 7, 9]
    assert (found["asn"], found["created_ms"]) == (64500, 1234)


@pytest.mark.parametrize(
    ("name", "found", "expected"),
    [
        ("max_tokens", asked(max_tokens=HUGE), 2**31 - 1),
        ("max_tokens", asked(max_tokens=-HUGE), ABSENT),
        ("choices", asked(n=HUGE), 2**31 - 1),
        ("temperature", asked(temperature=1e300), pytest.approx(1e30)),
        ("temperature", asked(temperature=-1e300), pytest.approx(-1e30)),
        ("input_tokens", row("hi", usage=Usage(input_tokens=HUGE)), 2**31 - 1),
        ("asn", called(asn=HUGE), ABSENT),
        ("asn", called(asn=-1), ABSENT),
        ("created_ms", owned(created_at=HUGE), ABSENT),
        ("created_ms", owned(created_at=-1), ABSENT),
        ("time_ms", row("hi", time=HUGE), 1 << 62),
        ("order_ms", row("hi", time=HUGE), 1 << 62),
    ],
)
def test_what_does_not_fit_is_clamped_or_absent(name, found, expected):
    assert found[name] == expected


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_temperatures_that_are_no_numbers_are_absent(value):
    assert math.isnan(asked(temperature=value)["temperature"])


@pytest.mark.parametrize(
    ("params", "flags"),
    [
        ({"logprobs": True}, FLAG_LOGPROBS),
        ({"logprobs": False}, 0),
        ({"top_logprobs": 3}, FLAG_LOGPROBS),
        ({"top_logprobs": 0}, 0),
        ({"seed": 0}, FLAG_SEED),
        ({"stream": True}, FLAG_STREAM),
        ({"tools": 2}, FLAG_TOOLS),
        ({"tools": 0}, 0),
        ({"logit_bias": {"5": 1}}, FLAG_LOGIT_BIAS),
        ({"logit_bias": {}}, 0),
        ({"seed": 1, "stream": True, "tools": 1}, FLAG_SEED | FLAG_STREAM | FLAG_TOOLS),
    ],
)
def test_flags(params, flags):
    assert asked(**params)["flags"] == flags


def test_logit_bias_is_which_tokens_in_any_order_whatever_their_weight():
    first = asked(logit_bias={"1": 5, "2": -5})
    assert first["logit_bias_keys"] == 2
    assert first["logit_bias"] == asked(logit_bias={"2": 1, "1": 1})["logit_bias"] != 0
    assert first["logit_bias"] != asked(logit_bias={"1": 5, "3": -5})["logit_bias"]
    assert asked(logit_bias={})["logit_bias_keys"] == asked(logit_bias={})["logit_bias"] == 0


def test_equal_names_of_different_meaning_differ():
    found = row(
        "hi",
        model="x",
        conversation_id="x",
        org_id="x",
        api_key_id="x",
        finish_reason="x",
        client=Client(ip="x", device_id="x", user_agent="x"),
        account=AccountFacts(tier="x", pathway="x", payment_fingerprint="x"),
    )
    names = "model conversation organisation api_key finish address device client tier pathway payment"
    assert len({int(found[name]) for name in names.split()} - {0}) == 11


def test_names_are_equal_where_they_were_equal():
    assert row("hi", model="x")["model"] == row("other", model="x")["model"] != row("hi", model="y")["model"]
    assert row("hi", model="")["model"] == 0


@pytest.mark.parametrize(
    ("left", "right", "equal", "why"),
    [
        ("192.0.2.1", "192.0.2.200", {"network"}, "one /24"),
        ("192.0.2.1", "192.0.3.1", set(), "two /24"),
        ("2001:db8:1::1", "2001:db8:1:ffff::2", {"network"}, "one /48"),
        ("2001:db8:1::1", "2001:db8:2::1", set(), "two /48"),
        ("2001:db8::1", "2001:0DB8:0:0::0001", {"address", "network"}, "two spellings"),
        ("::ffff:192.0.2.1", "192.0.2.1", {"address", "network"}, "IPv4 in IPv6"),
        ("not an address", "not an address", {"address", "network"}, "no network"),
    ],
)
def test_networks(left, right, equal, why):
    left, right = called(ip=left), called(ip=right)
    assert {name for name in ("address", "network") if left[name] == right[name]} == equal, why


def test_what_is_no_address_has_no_network():
    assert called(ip="unix socket")["network"] == 0 != called(ip="unix socket")["address"]


def test_client_is_agent_and_fingerprint_together():
    clients = [
        {"user_agent": "sdk", "ja4": "t13d"},
        {"user_agent": "sdk"},
        {"user_agent": "t13d"},
        {"ja4": "sdk"},
        {"ja4": "t13d"},
    ]
    assert len({int(called(**client)["client"]) for client in clients} - {0}) == 5


@pytest.mark.parametrize(
    ("created", "expected"),
    [
        ("2020-01-01T00:00:00Z", 1_577_836_800_000),
        ("2020-01-01T01:00:00+01:00", 1_577_836_800_000),
        ("2020-01-01T00:00:00", 1_577_836_800_000),
        ("yesterday", ABSENT),
        ("", ABSENT),
        ("1577836800", ABSENT),
        (0, 0),
    ],
)
def test_creation_either_way(created, expected):
    assert owned(created_at=created)["created_ms"] == expected


def test_memories_are_bounded_and_change_nothing(monkeypatch):
    monkeypatch.setattr(fields, "_NAMES", 2)
    monkeypatch.setattr(fields, "_GROUPS", 2)
    made = fields.FieldReader(b"k")
    events = [
        exchange(
            "hi",
            model=f"m{at % 5}" + "x" * (at % 2) * 300,
            client=Client(ip=f"192.0.2.{at % 7}", user_agent="u" * (at % 3) * 200),
            params=Params(seed=at % 4),
            account=AccountFacts(tier=f"t{at % 3}"),
        )
        for at in range(60)
    ]
    rows, alone = observer().observe(events), []
    made.fill(events, rows)
    for event in events:
        single = observer().observe([event])
        fields.FieldReader(b"k").fill([event], single)
        alone.append(single[0])
    assert all(same(left, right) for left, right in zip(rows, alone, strict=True))
    for memory in (made._model, made._asked, made._caller, made._owner):
        assert 0 < len(memory) <= 2
        assert all(len(str(key)) < 600 for key in memory)
