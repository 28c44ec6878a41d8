"""A shard applies every row once, in event-time order, whatever the interleaving, repeats and restarts."""

import dataclasses
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.batches import Progress
from streams.shard import Limits, Shard
from tests.streams.logs_of_sources import Source, batch, expected_order

HOUR = 3_600_000


@dataclasses.dataclass
class Tally:
    """Account state of the stub engine: the events applied, in order."""

    last_ms: int
    events: list[str]


class TallyEngine:
    """Stands in for the detection engine and remembers what it was given."""

    def subject_id(self, seen):
        return seen.account

    def fresh(self, account_id):
        return Tally(0, [])

    def apply(self, account, seen, topic):
        account.last_ms = seen.order_ms
        account.events.append(seen.event_id)

    def snapshot(self, account):
        return [account.last_ms, account.events]

    def restore(self, account_id, plain):
        return Tally(plain[0], list(plain[1]))


ENDLESS = Limits(max_accounts=1000, max_state_bytes=1 << 20)


def heard_of(sources, read):
    """Progress of sources of which `read` events have been sent."""
    return {
        source.partition: Progress(
            source.partition,
            read[source.partition],
            source.events[read[source.partition] - 1][4] if read[source.partition] else -(1 << 62),
            0,
        )
        for source in sources
    }


logs = st.lists(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50)), max_size=25), min_size=1, max_size=4
)


@settings(max_examples=150)
@given(logs=logs, lateness=st.sampled_from([0, 5, 100]), seed=st.integers(0, 2**32 - 1))
def test_every_interleaving_repeat_and_restart_gives_the_same_order(logs, lateness, seed):
    rng = random.Random(seed)
    sources = [Source(number, events, lateness) for number, events in enumerate(logs)]
    read = {source.partition: 0 for source in sources}
    messages = []
    # Write the observations log: random takes from the sources; now and then ingest restarts and repeats.
    while any(read[s.partition] < len(s.events) for s in sources):
        source = rng.choice(sources)
        if read[source.partition] and rng.random() < 0.15:
            read[source.partition] = rng.randrange(read[source.partition])
        start = read[source.partition]
        stop = min(len(source.events), start + rng.randint(0, 6))
        read[source.partition] = stop
        messages.append(
            batch([(source, at) for at in range(start, stop)], heard_of(sources, read), len(sources))
        )

    engine = TallyEngine()
    shard = Shard(engine, ENDLESS)
    saved, position, at, kills = {}, None, 0, rng.randint(0, 6)
    while at < len(messages):
        shard.receive(at, messages[at])
        at += 1
        if rng.random() < 0.4:
            checkpoint = shard.checkpoint()
            position = checkpoint.position
            saved.update(checkpoint.records)
        if kills and rng.random() < 0.2:  # killed: a new owner continues from what is saved
            kills -= 1
            shard = Shard(engine, ENDLESS)
            shard.restore(position, saved)
            at = rng.randint(0, shard.done + 1)  # reading may start anywhere at or before the position
    shard.finish()
    expected = expected_order(sources)
    assert {name: shard.account(name).events for name in shard.account_ids()} == expected
    assert shard.applied == sum(map(len, expected.values()))


def test_rows_wait_for_the_slower_source():
    fast = Source(0, [("a", 100), ("a", 300)], 0)
    slow = Source(1, [("a", 200)], 0)
    shard = Shard(TallyEngine(), ENDLESS)
    shard.receive(0, batch([(fast, 0), (fast, 1)], heard_of([fast, slow], {0: 2, 1: 0}), 2))
    assert shard.account("a") is None
    assert shard.buffered == 2
    shard.receive(1, batch([(slow, 0)], heard_of([fast, slow], {0: 2, 1: 1}), 2))
    assert shard.account("a").events == ["0-0"]
    shard.finish()
    assert shard.account("a").events == ["0-0", "1-0", "0-1"]


@pytest.mark.parametrize(
    ("idle_ms", "waited_s", "applied", "why"),
    [
        (0, 1.0, [], "a source that may still bring something is waited for"),
        (1000, 1.0, ["0-0"], "an idle source is not"),
        (0, 61.0, ["0-0"], "nor is one of which nothing was heard for a minute"),
    ],
)
def test_waiting_ends(idle_ms, waited_s, applied, why):
    fast = Source(0, [("a", 100)], 0)
    shard = Shard(TallyEngine(), ENDLESS)
    heard = {0: Progress(0, 1, 100, 1000), 1: Progress(1, 0, -(1 << 62), idle_ms)}
    shard.receive(0, batch([(fast, 0)], heard, 2))
    shard.tick(waited_s)
    account = shard.account("a")
    assert (account.events if account else []) == applied, why


def test_rows_without_progress_wake_their_source():
    sources = [Source(0, [("a", 10), ("a", 100)], 0), Source(1, [("a", 20), ("a", 90)], 0)]
    shard = Shard(TallyEngine(), ENDLESS)
    asleep = {0: Progress(0, 1, 10, 5000), 1: Progress(1, 1, 20, 5000)}
    shard.receive(0, batch([(sources[0], 0), (sources[1], 0)], asleep, 2))
    assert shard.buffered == 0
    # The first message of a flush brings rows only; the other source's older row is in the next.
    shard.receive(1, batch([(sources[0], 1)], {}, 2))
    shard.receive(2, batch([(sources[1], 1)], heard_of(sources, {0: 2, 1: 2}), 2))
    shard.finish()
    assert shard.account("a").events == ["0-0", "1-0", "1-1", "0-1"]
    assert not shard.skipped["late_applied_out_of_order"]


def test_late_rows_are_applied_and_counted():
    fast, late = Source(0, [("a", 100)], 0), Source(1, [("a", 50)], 0)
    shard = Shard(TallyEngine(), ENDLESS)
    idle = {0: Progress(0, 1, 100, 5000), 1: Progress(1, 0, -(1 << 62), 5000)}
    shard.receive(0, batch([(fast, 0)], idle, 2))
    shard.receive(1, batch([(late, 0)], {1: Progress(1, 1, 50, 0)}, 2))
    assert shard.account("a").events == ["0-0", "1-0"]
    assert shard.skipped["late_applied_out_of_order"] == 1


def test_several_rows_of_one_record_are_not_repeats():
    source = Source(0, [("a", 1), ("a", 2)], 0)
    source.events[1] = (0, *source.events[1][1:])  # same record, second request
    shard = Shard(TallyEngine(), ENDLESS)
    shard.receive(0, batch([(source, 0), (source, 1)], {}, 1))
    shard.finish()
    assert len(shard.account("a").events) == 2


def test_oldest_accounts_make_room_and_leave_tombstones():
    source = Source(0, [(f"account-{number:03}", number) for number in range(300)], 0)
    shard = Shard(TallyEngine(), Limits(max_accounts=100, max_state_bytes=1 << 20))
    shard.receive(0, batch([(source, at) for at in range(150)], heard_of([source], {0: 150}), 1))
    shard.checkpoint()
    shard.receive(1, batch([(source, at) for at in range(150, 300)], heard_of([source], {0: 300}), 1))
    shard.finish()
    assert shard.accounts <= 100
    assert shard.account("account-299") is not None
    assert shard.account("account-000") is None
    gone = {key for key, record in shard.checkpoint().records if record is None}
    assert "account-149" in gone
    assert shard.skipped["account_evicted"] >= 200


def test_accounts_silent_for_too_long_are_dropped():
    source = Source(0, [("old", 0), ("new", 1), ("new", 50 * HOUR)], 0)
    shard = Shard(TallyEngine(), dataclasses.replace(ENDLESS, ttl_ms=10 * HOUR))
    shard.receive(0, batch([(source, 0), (source, 1)], heard_of([source], {0: 2}), 1))
    shard.receive(1, batch([(source, 2)], heard_of([source], {0: 3}), 1))
    shard.finish()
    assert shard.account("old") is None
    assert shard.skipped["account_expired"] >= 1


@pytest.mark.parametrize("saved", [True, False])
def test_resting_accounts_come_back_as_they_were(saved):
    names = [f"account-{number}" for number in range(50)]
    source = Source(0, [(name, at) for at in range(4) for name in names], 0)
    plain = Shard(TallyEngine(), ENDLESS)
    resting = Shard(TallyEngine(), dataclasses.replace(ENDLESS, live_accounts=5))
    for shard in (plain, resting):
        for at in range(0, len(source.events), 20):
            picked = [(source, offset) for offset in range(at, at + 20)]
            shard.receive(at, batch(picked, heard_of([source], {0: at + 20}), 1))
            if saved:
                shard.checkpoint()
            else:
                shard.rest()
                assert shard is plain or len(shard._live) <= 5
        shard.finish()
    assert {n: plain.account(n) for n in names} == {n: resting.account(n) for n in names}


def test_an_account_that_outgrows_its_ceiling_is_dropped_alone():
    source = Source(0, [("big", at) for at in range(40)] + [("small", 99)], 0)
    shard = Shard(TallyEngine(), Limits(max_state_bytes=120))
    shard.receive(0, batch([(source, at) for at in range(41)], heard_of([source], {0: 41}), 1))
    shard.finish()
    records = dict(shard.checkpoint().records)
    assert records["big"] is None
    assert records["small"] is not None
    assert shard.skipped["state_too_large"] == 1


def test_a_damaged_record_costs_one_account_its_history():
    source = Source(0, [("a", 1), ("b", 2), ("a", 3), ("b", 4)], 0)
    shard = Shard(TallyEngine(), ENDLESS)
    shard.receive(0, batch([(source, 0), (source, 1)], heard_of([source], {0: 2}), 1))
    shard.finish()
    checkpoint = shard.checkpoint()
    records = dict(checkpoint.records)
    records["a"] = records["a"][:-1] + bytes([records["a"][-1] ^ 1])
    again = Shard(TallyEngine(), ENDLESS)
    again.restore(checkpoint.position, records)
    again.receive(1, batch([(source, 2), (source, 3)], heard_of([source], {0: 4}), 1))
    again.finish()
    assert again.account("a").events == ["0-2"]
    assert again.account("b").events == ["0-1", "0-3"]
    assert again.skipped["state_unreadable"] == 1


def test_messages_must_come_in_order():
    shard = Shard(TallyEngine(), ENDLESS)
    source = Source(0, [("a", 1)], 0)
    shard.receive(5, batch([(source, 0)], {}, 1))
    with pytest.raises(ValueError, match="offset order"):
        shard.receive(4, batch([], {}, 1))
