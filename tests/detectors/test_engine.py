"""The engine's promises: contract, determinism, saved state, bounds, duplicates, quiet period, allow-list."""

import json
import random
import re
from importlib import resources

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from detectors import checks
from detectors.calibration import Profile
from detectors.engine import Engine
from detectors.errors import ConfigError, StateError
from detectors.observation import FLAG_LOGIT_BIAS, FLAG_LOGPROBS, Observation
from detectors.policy import DetectionSettings
from streams.codecs import encode_alert

PROFILE = Profile.load_default()
SCHEMA = json.loads(resources.files("detectors.contracts").joinpath("alert.schema.json").read_text())
MINUTE = 60_000
START = 1_772_400_000_000


def prober(count, *, account="prober", step_ms=MINUTE):
    """One account that asks the same few prompts with log-probabilities and ever new biases."""
    return [
        Observation(
            account,
            f"{account}-{at}",
            order_ms=START + at * step_ms,
            time_ms=START + at * step_ms,
            offset=at,
            prompt=1 + at % 3,
            prefix=7,
            chars=40,
            words=8,
            flags=FLAG_LOGPROBS | FLAG_LOGIT_BIAS,
            top_logprobs=20,
            logit_bias_keys=5,
            logit_bias=1000 + at,
            temperature=(at % 5) / 4,
            entropy=4.0,
            compression=0.9,
        )
        for at in range(count)
    ]


def run(engine, observations, account=None, topic="bus"):
    account = account or engine.fresh(observations[0].account)
    alerts = [alert for seen in observations if (alert := engine.apply(account, seen, topic))]
    return account, alerts


@pytest.fixture
def engine():
    return Engine(DetectionSettings(), PROFILE)


def test_alerts_follow_the_contract_and_explain_themselves(engine):
    _, alerts = run(engine, prober(100))
    assert alerts
    for alert in alerts:
        document = json.loads(encode_alert(alert))
        jsonschema.validate(document, SCHEMA, format_checker=jsonschema.FormatChecker())
        assert alert.kind == "parameter_probing"
        assert alert.score >= 1 - DetectionSettings().budget
        assert sum(signal.contribution for signal in alert.signals) == pytest.approx(1, abs=1e-4)
        contributions = [signal.contribution for signal in alert.signals]
        assert contributions == sorted(contributions, reverse=True)
        for signal in alert.signals:
            # The value, what is typical, and how unusual that is.
            said, _, how_unusual = signal.explanation.rpartition(". ")
            assert re.search(r"\d", said)
            assert "usual" in said
            assert re.fullmatch(r".*ne ordinary account in [\d,]+ is as unusual in this\.", how_unusual)
        assert 1 <= len(alert.evidence.event_ids) <= 50
        assert alert.evidence.positions[0].topic == "bus"


def test_same_input_same_alerts(engine):
    again = Engine(DetectionSettings(), PROFILE)
    assert run(engine, prober(200))[1] == run(again, prober(200))[1]
    assert engine.config_hash == again.config_hash
    assert Engine(DetectionSettings(budget=0.01), PROFILE).config_hash != engine.config_hash
    assert Engine(DetectionSettings(key_fingerprint="x"), PROFILE).config_hash != engine.config_hash


@hypothesis_settings(max_examples=25)
@given(cut=st.integers(0, 150), seed=st.integers(0, 1000))
def test_saving_and_restoring_anywhere_changes_nothing(cut, seed):
    stream = prober(60) + list(checks.ordinary(seed, 90))
    engine = Engine(DetectionSettings(), PROFILE)
    whole, expected = run(engine, stream)
    account, found = engine.fresh(stream[0].account), []
    for at, seen in enumerate(stream):
        if at == cut:
            packed = msgspec.msgpack.encode(engine.snapshot(account))
            account = engine.restore(account.id, msgspec.msgpack.decode(packed))
        if alert := engine.apply(account, seen, "bus"):
            found.append(alert)
    assert found == expected
    assert engine.snapshot(account) == engine.snapshot(whole)


def test_state_stays_within_four_kibibytes_whatever_comes(engine):
    account = engine.fresh("a" * 256)
    largest = 0
    for at, drawn in enumerate(checks.hostile(3000)):
        seen = drawn._replace(event_id=f"{at:0>256}", partition=at % 500, offset=at)
        engine.apply(account, seen, "topic " * 40)
        if at % 50 == 0:
            largest = max(largest, len(msgspec.msgpack.encode(engine.snapshot(account))))
    assert 1000 < largest <= 4096 - 64  # the envelope takes the rest


def damaged(plain, rng):
    """The snapshot with one value somewhere replaced."""
    plain = json_like(plain)
    where = plain
    while True:
        at = rng.randrange(len(where))
        if isinstance(where[at], list) and where[at] and rng.random() < 0.8:
            where = where[at]
            continue
        where[at] = rng.choice([None, -1, "x", b"\xff" * 9, [], 1 << 70, float("nan")])
        return plain


def json_like(value):
    return [json_like(inner) for inner in value] if isinstance(value, list | tuple) else value


def test_damaged_state_is_refused_or_sound_never_a_crash(engine):
    account, _ = run(engine, prober(80))
    plain = engine.snapshot(account)
    rng = random.Random(4)
    refused = 0
    for _ in range(500):
        try:
            restored = engine.restore("prober", damaged(plain, rng))
        except StateError:
            refused += 1
            continue
        run(engine, prober(20, step_ms=7), account=restored)
    assert refused > 300
    with pytest.raises(StateError, match="version"):
        engine.restore("prober", [99, *plain[1:]])


def test_a_repeated_event_id_counts_once(engine):
    stream = prober(40)
    twice = [seen for one in stream for seen in (one, one)]
    assert run(engine, twice)[1] == run(Engine(DetectionSettings(), PROFILE), stream)[1]
    assert engine.skipped["duplicate_event"] == 40


def test_quiet_period_and_allow_list():
    always_on = DetectionSettings(quiet_period_ms=0)
    quiet = DetectionSettings(quiet_period_ms=10**12)
    loud, calm = (len(run(Engine(one, PROFILE), prober(300))[1]) for one in (always_on, quiet))
    assert loud > calm >= 1
    allowed = DetectionSettings(allow=frozenset({"prober"}))
    assert run(Engine(allowed, PROFILE), prober(300))[1] == []


def test_an_account_silent_for_too_long_starts_afresh(engine):
    stream = prober(6) + [
        seen._replace(order_ms=seen.order_ms + 40 * 86_400_000, event_id=f"later-{seen.event_id}")
        for seen in prober(6)
    ]
    account, alerts = run(engine, stream)
    assert account.total == 6
    assert alerts == []


def test_wrong_settings_are_all_named_at_once():
    with pytest.raises(ConfigError) as wrong:
        DetectionSettings(budget=2, window_events=3, account_ttl_ms=0)
    assert all(name in str(wrong.value) for name in ("budget", "window_events", "account_ttl_ms"))


def test_ordinary_accounts_rarely_alert(engine):
    flagged = sum(bool(run(engine, list(checks.ordinary(seed, 200)))[1]) for seed in range(40))
    assert flagged <= 2


def test_how_well_the_reference_fits_is_counted_once_per_account_and_window():
    one = Engine(DetectionSettings(), PROFILE)
    for seed in range(6):
        account = one.fresh(f"a{seed}")
        for seen in checks.ordinary(seed, 100):
            one.apply(account, seen, "bus")
    assert one.reference["accounts"] == 6
    assert 0 <= one.reference["unusual"] <= 6
    short = one.fresh("short")
    for seen in checks.ordinary(9, 63):
        one.apply(short, seen, "bus")
    assert one.reference["accounts"] == 6
