"""Saved state of an account: bounded in bytes, plain, complete, and refused when it is damaged."""

import gc
import random
import tracemalloc

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import checks
from detectors.calibration import LOOKS, Profile
from detectors.engine import Engine
from detectors.errors import StateError
from detectors.observation import ABSENT, FLAG_LOGIT_BIAS, Observation
from detectors.policy import DetectionSettings

PROFILE = Profile.load_default()
MOST_BYTES = 4096 - 64  # the envelope around it takes the rest
MOST_RESIDENT_BYTES = 8192


def engine(**settings_):
    return Engine(DetectionSettings(**settings_), PROFILE)


def encoded(one, account):
    return msgspec.msgpack.encode(one.snapshot(account))


def apply_all(one, account, stream, topic="bus"):
    return [alert for seen in stream if (alert := one.apply(account, seen, topic))]


@st.composite
def streams(draw):
    """Streams that repeat, jump in time, and mix ordinary, hostile and empty exchanges."""
    parts = draw(
        st.lists(st.sampled_from(["ordinary", "hostile", "empty", "same", "harvest"]), min_size=1, max_size=4)
    )
    stream = []
    for at, part in enumerate(parts):
        count = draw(st.integers(1, 60))
        if part == "ordinary":
            stream += checks.ordinary(draw(st.integers(0, 99)), count)
        elif part == "hostile":
            stream += checks.hostile(count)
        elif part == "empty":
            stream += [Observation("a", f"empty-{at}-{i}") for i in range(count)]
        elif part == "same":
            stream += [next(checks.ordinary(1, 1))] * count
        else:
            stream += [
                Observation(
                    "a", f"harvest-{at}-{i}", prompt=i + 1, chars=50, flags=FLAG_LOGIT_BIAS, logit_bias=i + 1
                )
                for i in range(count)
            ]
    return stream


@settings(max_examples=60)
@given(stream=streams(), cuts=st.lists(st.integers(0, 200), max_size=3))
def test_restoring_at_any_points_gives_equal_alerts_and_state(stream, cuts):
    one = engine(quiet_period_ms=0)
    whole = one.fresh("a")
    expected = apply_all(one, whole, stream)
    account, found = one.fresh("a"), []
    for at, seen in enumerate(stream):
        if at in cuts:
            account = one.restore("a", msgspec.msgpack.decode(encoded(one, account)))
        if alert := one.apply(account, seen, "bus"):
            found.append(alert)
    assert found == expected
    assert encoded(one, account) == encoded(one, whole)


@pytest.mark.parametrize(
    "event_id", [lambda at: f"{at:0>256}", lambda at: f"{at:é>256}", lambda at: f"{at:>36}"]
)
def test_state_stays_small_at_every_exchange_of_a_window(event_id):
    one = engine(quiet_period_ms=0)
    account = one.fresh("a" * 256)
    largest = 0
    for at, drawn in enumerate(checks.hostile(LOOKS[-1] + 40)):
        seen = drawn._replace(event_id=event_id(at), partition=at * 7919 % (1 << 32), offset=(1 << 62) + at)
        one.apply(account, seen, ("topic " * 41)[: 240 + at % 2])
        if at % 16 == 0 or at in range(LOOKS[-1] - 3, LOOKS[-1]):
            largest = max(largest, len(encoded(one, account)))
    assert 2500 < largest <= MOST_BYTES


@pytest.mark.parametrize("stream", [checks.hostile, lambda count: checks.ordinary(1, count)])
def test_an_account_takes_at_most_eight_kibibytes_of_memory(stream):
    one = engine()
    observations = [
        seen._replace(event_id=f"{at:0>64}", partition=at % 500)
        for at, seen in enumerate(stream(LOOKS[-1] - 1))
    ]
    gc.collect()
    tracemalloc.start()
    try:
        accounts, taken = [], []
        for number in range(24):
            account = one.fresh(f"account-{number}")
            for at, seen in enumerate(observations):
                # A string of its own, as every event that comes from a bus has.
                one.apply(account, seen._replace(event_id=f"{at:0>64}"), "bus")
            accounts.append(account)
            gc.collect()
            taken.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    # What twelve more accounts take: the first ones pay for what is made once.
    resident = (taken[-1] - taken[-13]) / 12
    assert 2000 < resident <= MOST_RESIDENT_BYTES


def paths(plain, path=()):
    """Where in a snapshot values are."""
    if isinstance(plain, list):
        for at, value in enumerate(plain):
            yield from paths(value, (*path, at))
    else:
        yield path


def with_value(plain, path, value):
    if not path:
        return value
    return [with_value(one, path[1:], value) if at == path[0] else one for at, one in enumerate(plain)]


def test_every_value_of_another_type_is_refused():
    one = engine()
    account = one.fresh("a")
    apply_all(one, account, checks.ordinary(3, 90))
    plain = msgspec.msgpack.decode(encoded(one, account))
    places = list(paths(plain))
    assert len(places) > 60
    for path in places:
        for value in ({}, None, [None], "\ud800", float("nan"), -(1 << 80)):
            with pytest.raises(StateError):
                one.restore("a", with_value(plain, path, value))


def test_flipped_bytes_are_refused_or_lead_to_a_sound_account():
    one = engine()
    account = one.fresh("a")
    apply_all(one, account, checks.hostile(200))
    data = encoded(one, account)
    rng = random.Random(7)
    refused = 0
    for _ in range(400):
        broken = bytearray(data)
        broken[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        try:
            plain = msgspec.msgpack.decode(bytes(broken))
            restored = one.restore("a", plain)
        except (StateError, msgspec.DecodeError, UnicodeDecodeError):
            refused += 1
            continue
        apply_all(one, restored, checks.ordinary(2, 30))
        assert len(encoded(one, restored)) <= MOST_BYTES
    assert refused > 40


@pytest.mark.parametrize("plain", [None, [], {}, b"", "state", [1], [2] * 12, [True] * 12, [1] * 12])
def test_what_is_no_state_is_refused(plain):
    with pytest.raises(StateError):
        engine().restore("a", plain)


def test_state_of_another_detector_version_is_refused():
    one = engine()
    plain = one.snapshot(one.fresh("a"))
    plain[-1][0][1] += 1
    with pytest.raises(StateError, match="version"):
        one.restore("a", plain)


def test_a_window_ends_and_the_next_knows_nothing_of_it_but_alerts_and_repeats():
    one = engine(window_events=16)
    account = one.fresh("a")
    stream = list(checks.ordinary(1, 16))
    apply_all(one, account, stream)
    assert (account.window, account.count, account.total) == (1, 0, 16)
    fresh = one.fresh("a")
    assert one.snapshot(account)[-1] == one.snapshot(fresh)[-1]
    assert account.said.snapshot() == fresh.said.snapshot()
    apply_all(one, account, stream[-1:])
    assert account.count == 0, "a repeat is known across windows"


@pytest.mark.parametrize("different", [1, 2, 40])
def test_prompts_sent_again_and_again_teach_what_prompts_are_about_once(different):
    one = engine()
    sent = [seen._replace(marks=7, purpose=checks.purpose(90)) for seen in checks.ordinary(1, different)]
    again = [sent[at % different]._replace(event_id=str(at)) for at in range(20 * different)]
    once, often = one.fresh("a"), one.fresh("a")
    apply_all(one, once, sent)
    apply_all(one, often, again)
    of = {detector.spec.id: detector for detector in once.detectors}
    for detector in often.detectors:
        alike = detector.snapshot() == of[detector.spec.id].snapshot()
        assert alike == detector.spec.once, detector.spec.id


def test_a_late_exchange_never_moves_time_back():
    one = engine()
    account = one.fresh("a")
    for at, order_ms in enumerate((100, 50, 70)):
        one.apply(account, Observation("a", str(at), order_ms=order_ms, time_ms=order_ms), "bus")
    assert (account.last_ms, account.first_time_ms, account.last_time_ms) == (100, 50, 100)


def test_absent_fields_never_alert():
    one = engine(budget=0.5)
    account = one.fresh("a")
    stream = [Observation("a", str(at), order_ms=at, max_tokens=ABSENT) for at in range(200)]
    assert apply_all(one, account, stream) == []


def test_profiles_and_settings_that_move_alerts_have_other_hashes():
    simulated = Profile.decode(PROFILE.encode().replace(b'"default-5"', b'"other"'))
    hashes = {
        Engine(DetectionSettings(), PROFILE).config_hash,
        Engine(DetectionSettings(), simulated).config_hash,
        engine(window_events=512).config_hash,
        engine(quiet_period_ms=1).config_hash,
        engine(account_ttl_ms=1).config_hash,
    }
    assert len(hashes) == 5
    allowed = engine(allow=frozenset({"a"}))
    assert allowed.config_hash == engine().config_hash, "silencing an account changes no other alert"
    assert allowed.version.endswith("+profile.default-5")
