"""Pools: one stream out of many accounts, bounded, saved and restored bit for bit."""

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import checks
from detectors.calibration import Profile
from detectors.errors import ConfigError, StateError
from detectors.policy import DetectionSettings
from detectors.pools import SEPARATOR, PoolEngine

PROFILE = Profile.load_default()


def engine(**settings_):
    return PoolEngine(DetectionSettings(**{"budget": 0.02, **settings_}), PROFILE)


def of(pool, member, seen):
    return seen._replace(account=f"{pool}{SEPARATOR}{member}")


def encoded(one, pool):
    return msgspec.msgpack.encode(one.snapshot(pool))


def purpose_of(steps):
    return checks.purpose(*([steps] * len(PROFILE.ceilings.purpose)))


def harvest(count, members, *, start=0):
    """Graders that share out one set over `members` accounts."""
    rng = random.Random(5)
    for at, seen in enumerate(checks.ordinary(7, count)):
        yield of(
            "payment:1",
            f"acct-{start + at % members}",
            seen._replace(prompt=rng.getrandbits(64), marks=checks.mark("grading"), purpose=purpose_of(90)),
        )


def alerts_of(one, stream):
    pool = one.fresh("payment:1")
    return pool, [alert for seen in stream if (alert := one.apply(pool, seen, "bus")) is not None]


def test_what_no_single_member_shows_the_pool_does():
    one = engine()
    pool, alerts = alerts_of(one, harvest(300, 60))
    assert alerts, "300 exchanges by 60 accounts, five each"
    first, last = alerts[0], alerts[-1]
    assert first.kind == "coordinated_campaign"
    assert (first.subject.type, first.subject.id) == ("campaign", "payment:1")
    assert last.subject.account_count == len(last.subject.accounts) <= 60
    assert last.subject.links[0]["kind"] == "payment"
    assert len(alerts) < 12
    counts = [alert.subject.account_count for alert in alerts]
    assert counts == sorted(counts)
    assert len({alert.alert_id for alert in alerts}) == len(alerts)
    assert pool.size == 60


def test_an_account_alone_is_no_pool():
    one = engine()
    pool, alerts = alerts_of(one, harvest(300, 1))
    assert not alerts
    assert not pool.admitted
    assert len(encoded(one, pool)) < 100


@pytest.mark.parametrize(("guilty", "bystanders", "alerted"), [(1, 6, False), (3, 0, False), (6, 0, True)])
def test_bystanders_are_not_named_for_what_one_account_does(guilty, bystanders, alerted):
    one = engine()
    quiet = [list(checks.ordinary(seed, 1)) for seed in range(bystanders)]
    stream = [*harvest(200, guilty)]
    stream += [of("payment:1", f"by-{who}", seen) for who, seen_of in enumerate(quiet) for seen in seen_of]
    stream.sort(key=lambda seen: (seen.order_ms, seen.event_id))
    numbered = [seen._replace(event_id=str(at)) for at, seen in enumerate(stream)]
    _, alerts = alerts_of(one, numbered)
    assert bool(alerts) == alerted


def test_who_shares_the_link_and_asks_ordinary_things_is_not_named():
    one = engine()
    ordinary = purpose_of(-40)
    stream = list(harvest(300, 60))
    stream += [
        of("payment:1", f"by-{who}", seen._replace(purpose=ordinary))
        for who in range(10)
        for seen in checks.ordinary(who, 4)
    ]
    stream.sort(key=lambda seen: (seen.order_ms, seen.event_id))
    pool, alerts = alerts_of(one, [seen._replace(event_id=str(at)) for at, seen in enumerate(stream)])
    last = alerts[-1].subject
    assert last.account_count == len(last.accounts) > 20
    assert all(name.startswith("acct-") for name in last.accounts)
    assert last.links[0]["accounts"] > last.account_count
    assert pool.size == 70


def test_where_no_prompt_was_read_all_members_are_named():
    one = engine()
    unread = [seen._replace(purpose=checks.purpose()) for seen in harvest(300, 60)]
    pool, _ = alerts_of(one, unread)
    assert len(pool.likely) == pool.size == 60


def test_ordinary_members_raise_nothing():
    one = engine(budget=0.001)
    pool = one.fresh("network:1")
    streams = [list(checks.ordinary(seed, 40)) for seed in range(20)]
    for at in range(40):
        for member, stream in enumerate(streams):
            assert one.apply(pool, of("network:1", f"m{member}", stream[at]), "bus") is None
    assert pool.size == 20


def test_accounts_on_the_allow_list_take_no_part():
    one = engine(allow=frozenset(f"acct-{at}" for at in range(1, 60)))
    pool, alerts = alerts_of(one, harvest(300, 60))
    assert not alerts
    assert not pool.admitted


def test_a_window_ends_and_its_members_with_it():
    one = engine(window_events=64)
    pool, _ = alerts_of(one, harvest(65, 8))  # the first exchange only opens the pool
    assert (pool.window, pool.count, pool.size) == (1, 0, 0)
    assert pool.admitted


def test_a_pool_that_was_silent_for_long_starts_afresh():
    one = engine()
    pool, _ = alerts_of(one, harvest(50, 5))
    late = next(harvest(1, 1))._replace(order_ms=pool.last_ms + 31 * 86_400_000, event_id="late")
    assert one.apply(pool, late, "bus") is None
    assert not pool.admitted
    assert pool.size == 1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 150), st.integers(1, 40))
def test_restoring_anywhere_gives_equal_alerts_and_state(cut, members):
    one = engine()
    stream = list(harvest(160, members))
    whole, part = one.fresh("payment:1"), one.fresh("payment:1")
    for seen in stream[:cut]:
        one.apply(whole, seen, "bus")
        one.apply(part, seen, "bus")
    again = one.restore("payment:1", msgspec.msgpack.decode(encoded(one, part)))
    for seen in stream[cut:]:
        assert one.apply(whole, seen, "bus") == one.apply(again, seen, "bus")
    assert encoded(one, whole) == encoded(one, again)


def test_state_is_bounded_whatever_members_are_called():
    one = engine()
    pool = one.fresh("device:1")
    largest = 0
    for at, seen in enumerate(checks.hostile(1024)):
        one.apply(pool, of("device:1", f"{at}" + "é" * 200, seen), "bus")
        if at % 100 == 0 or at > 1000:
            largest = max(largest, len(encoded(one, pool)))
            assert pool.size in (0, 1, at), "members that cannot be named are counted"
    assert largest < 40_000
    restored = one.restore("device:1", msgspec.msgpack.decode(encoded(one, pool)))
    assert encoded(one, restored) == encoded(one, pool)


@pytest.mark.parametrize(
    "state",
    [
        None,
        [],
        7,
        [1],
        [2, 5],
        [2, 5, [["a"], [1], b"", 0], 1],
        [2, 5, [["a"], [], [0], b"", 0]],
        [2, 5, [["a"], [1], [], b"", 0]],
        [2, 5, [["a"], [1], ["much"], b"", 0]],
        [2, 5, [["a"], [1], [1 << 40], b"", 0]],
        [2, "x", [[], [], [], b"", 0]],
        [2, 5, [["a"], [-1], [0], b"", 0]],
        [2, 5, [["a"], [1], [0], b"123", 0]],
        [2, 5, [["a"], [1], [0], b"", -1]],
        [2, 1.5, [[], [], [], b"", 0]],
    ],
)
def test_what_is_no_state_is_refused(state):
    with pytest.raises(StateError):
        engine().restore("payment:1", state)


def test_a_profile_without_pools_is_refused():
    with pytest.raises(ConfigError, match="knows no pools"):
        PoolEngine(DetectionSettings(), msgspec.structs.replace(PROFILE, pools=None))


def test_pools_and_accounts_of_one_configuration_carry_its_hash():
    from detectors.engine import Engine

    assert engine().config_hash == Engine(DetectionSettings(budget=0.02), PROFILE).config_hash


def test_accounts_that_people_allow_take_no_part_while_it_holds():
    class Decided:
        def silences(self, account_id, alert_kind, at_ms):
            return "allow" if account_id.startswith("acct-") and at_ms < until else None

    stream = list(harvest(300, 60))
    until = stream[-1].order_ms + 1
    forever = PoolEngine(DetectionSettings(budget=0.02), PROFILE, Decided())
    pool, alerts = alerts_of(forever, stream)
    assert not alerts
    assert not pool.admitted
    until = stream[100].order_ms
    pool, alerts = alerts_of(forever, stream)
    assert alerts, "what comes after it has expired counts"
    assert pool.total < 220
