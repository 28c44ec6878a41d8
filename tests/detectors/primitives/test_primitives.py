"""Primitives against plain counting, their saved state bit for bit, and their bounds."""

import math
import random
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.errors import StateError
from detectors.primitives.bitmap import DistinctBitmap
from detectors.primitives.counters import BucketCounters
from detectors.primitives.moments import DecayedMean, RunningMean, RunningVariance
from detectors.primitives.ring import RecentHashes
from detectors.primitives.said import PromptCells
from detectors.primitives.shares import MarkShares
from detectors.primitives.topk import TopHashes

floats = st.lists(st.floats(-1e6, 1e6), max_size=40)
buckets = st.lists(st.integers(0, 63), max_size=120)


def through_msgpack(state):
    return msgspec.msgpack.decode(msgspec.msgpack.encode(state))


@pytest.mark.parametrize("make", [RunningMean, RunningVariance, lambda: DecayedMean(0.1)])
@given(before=floats, after=floats)
def test_moments_come_back_bit_for_bit(make, before, after):
    whole, again = make(), make()
    for x in before:
        whole.update(x)
    again.restore(through_msgpack(whole.snapshot()))
    for x in after:
        whole.update(x)
        again.update(x)
    assert whole.get() == again.get()
    assert whole.snapshot() == again.snapshot()


@given(values=st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=50))
def test_variance_is_the_sample_variance(values):
    variance = RunningVariance()
    for x in values:
        variance.update(x)
    mean = math.fsum(values) / len(values)
    expected = math.fsum((x - mean) ** 2 for x in values) / (len(values) - 1)
    assert variance.get() == pytest.approx(expected, abs=1e-6, rel=1e-9)


@given(hits=buckets)
def test_bucket_counters_count_up_to_three(hits):
    counters = BucketCounters(64)
    for bucket in hits:
        counters.add(bucket)
    true = Counter(hits)
    assert counters.distinct == len(true)
    assert counters.once == sum(count == 1 for count in true.values())
    assert counters.twice == sum(count == 2 for count in true.values())
    again = BucketCounters(64)
    again.restore(through_msgpack(counters.snapshot()))
    assert (again.distinct, again.once, again.twice) == (counters.distinct, counters.once, counters.twice)
    for bucket in range(64):  # equal not only in sums
        counters.add(bucket)
        again.add(bucket)
        assert again.snapshot() == counters.snapshot()


def test_bucket_counters_stay_small_in_a_window():
    rng = random.Random(1)
    for spread in (1, 40, 300, 1024, 4096):
        counters = BucketCounters(4096)
        for _ in range(1024):
            counters.add(rng.randrange(spread))
        assert len(counters.snapshot()) <= 2 + 512 + 129


@pytest.mark.parametrize(
    "state", [b"", b"\xff\xff", b"\x02\x00\x05\x00\x02", b"\x04\x00\x05\x00\x05\x00", b"\x02\x00\xff\xff\x00"]
)
def test_bucket_counters_refuse_what_is_no_snapshot(state):
    with pytest.raises(StateError):
        BucketCounters(4096).restore(state)


@given(values=st.lists(st.integers(1, 2**64 - 1), max_size=60))
def test_a_bitmap_remembers_everything_and_restores(values):
    bitmap, again = DistinctBitmap(256), DistinctBitmap(256)
    for value in values:
        bitmap.add(value)
    assert all(bitmap.seen(value) for value in values)
    again.restore(through_msgpack(bitmap.snapshot()))
    assert again.snapshot() == bitmap.snapshot()
    assert again.distinct() == bitmap.distinct()


@pytest.mark.parametrize("distinct", [1, 100, 1000, 4000, 12_000])
def test_a_bitmap_counts_distinct_hashes_within_a_few_per_cent(distinct):
    rng = random.Random(distinct)
    bitmap = DistinctBitmap(4096)
    values = [rng.getrandbits(64) for _ in range(distinct)]
    for value in values + values[: distinct // 2]:
        bitmap.add(value)
    assert bitmap.distinct() == pytest.approx(distinct, rel=0.08, abs=1)


@pytest.mark.parametrize("state", [b"\x01", b"\x05\x00\x05\x00", b"\xff\xff", b"\x00" * 99, None])
def test_a_bitmap_refuses_what_is_no_snapshot(state):
    with pytest.raises(StateError):
        DistinctBitmap(256).restore(state)


@given(values=st.lists(st.integers(0, 12), min_size=1, max_size=200))
def test_top_hashes_hold_every_heavy_hitter_and_never_undercount(values):
    top = TopHashes(4)
    for value in values:
        top.add(value)
    value, count = Counter(values).most_common(1)[0]
    assert top.most() >= count
    assert top.most() <= count + len(values) / 4
    again = TopHashes(4)
    again.restore(through_msgpack(top.snapshot()))
    for value in values:
        top.add(value)
        again.add(value)
    assert again.snapshot() == top.snapshot()


@pytest.mark.parametrize("state", [b"\x00" * 10, b"\x01" * 20, b"\x01" * 9, b"\x01" * 500, 3])
def test_top_hashes_refuse_what_is_no_snapshot(state):
    with pytest.raises(StateError):
        TopHashes(4).restore(state)


def test_recent_hashes_forget_the_oldest():
    ring = RecentHashes(4)
    digests = [bytes([n]) * 8 for n in range(6)]
    for digest in digests:
        ring.add(digest)
    assert [digest in ring for digest in digests] == [False, False, True, True, True, True]
    again = RecentHashes(4)
    again.restore(through_msgpack(ring.snapshot()))
    ring.add(b"new hash")
    again.add(b"new hash")
    assert again.snapshot() == ring.snapshot()


def test_a_match_across_two_recent_hashes_is_none():
    ring = RecentHashes(4)
    ring.add(b"abcdefgh")
    ring.add(b"ijklmnop")
    assert b"efghijkl" not in ring
    assert b"ijklmnop" in ring


@pytest.mark.parametrize("state", [[4, b""], [0, b"short"], [1, b"x" * 16], [0, b"x" * 80], [0], None])
def test_recent_hashes_refuse_what_is_no_snapshot(state):
    with pytest.raises(StateError):
        RecentHashes(4).restore(state)


@given(marks=st.lists(st.integers(0, 7), min_size=1, max_size=60))
def test_mark_shares_are_shares(marks):
    shares = MarkShares((0.5, 0.1, 0.05))
    for one in marks:
        shares.update(one)
    expected = tuple(sum(one >> bit & 1 for one in marks) / len(marks) for bit in range(3))
    assert shares.shares() == pytest.approx(expected)
    again = MarkShares((0.5, 0.1, 0.05))
    again.restore(through_msgpack(shares.snapshot()))
    assert again.relative() == shares.relative()


@pytest.mark.parametrize(
    "state",
    [[3, b"\x00\x04\x00\x00\x00"], [3, b"\x07\x01\x00\x00\x00"], [3, b"\x00\x01\x00\x00\x00" * 2], [-1, b""]],
)
def test_mark_shares_refuse_what_is_no_snapshot(state):
    with pytest.raises(StateError):
        MarkShares((0.5, 0.1, 0.05)).restore(state)


@given(before=st.lists(st.integers(0, 2**64 - 1), max_size=60), after=st.integers(0, 2**64 - 1))
def test_a_prompt_said_before_is_always_known(before, after):
    said, again = PromptCells(), PromptCells()
    for prompt in before:
        said.add(prompt)
    again.restore(through_msgpack(said.snapshot()))
    assert not any(again.add(prompt) for prompt in before if prompt)
    assert again.snapshot() == said.snapshot()
    assert again.add(after) == said.add(after)
    assert again.add(0), "0 stands for no prompt"


def test_most_new_prompts_of_half_a_window_are_known_to_be_new():
    rng, said = random.Random(5), PromptCells()
    new = [said.add(rng.getrandbits(64)) for _ in range(512)]
    assert 0.7 < sum(new) / 512 < 0.9


@pytest.mark.parametrize("state", [None, b"", bytes(127), bytes(129), "0" * 128, [0] * 128])
def test_what_was_said_is_128_bytes(state):
    said = PromptCells()
    said.add(7)
    with pytest.raises(StateError):
        said.restore(state)
    assert not said.add(7)
