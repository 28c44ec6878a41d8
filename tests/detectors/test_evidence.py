"""Evidence of an account: bounded in bytes, telling exchanges first, positions by topic and partition."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from detectors.alerts import Position
from detectors.evidence import Trail


def test_telling_exchanges_outlive_the_others():
    trail = Trail()
    trail.add("told", True, "bus", 0, 0)
    for at in range(50):
        trail.add(f"plain-{at}", False, "bus", 0, at)
    assert trail.event_ids("plain-49") == ["plain-49", "told", "plain-48"]


def test_the_exchange_that_raises_is_named_even_if_its_id_cannot_be_kept():
    trail = Trail()
    endless = "é" * 256
    trail.add(endless, True, "bus", 0, 0)
    assert trail.event_ids(endless) == [endless]


def test_positions_span_what_was_read_in_any_order():
    trail = Trail()
    for partition, offset in ((0, 5), (1, 9), (0, 3), (0, 8)):
        trail.add("e", False, "bus", partition, offset)
    assert trail.positions() == [Position("bus", 0, 3, 8), Position("bus", 1, 9, 9)]


def test_the_oldest_positions_go_when_there_are_too_many():
    trail = Trail()
    for partition in range(40):
        trail.add("e", False, "bus", partition, 1)
    assert [position.partition for position in trail.positions()] == list(range(24, 40))


@given(
    seen=st.lists(
        st.tuples(
            st.text(min_size=1, max_size=256),
            st.booleans(),
            st.sampled_from(["a", "b" * 200, "ü" * 249, "c" * 249]),
            st.integers(0, 2**32 - 1),
            st.integers(0, 2**63 - 1),
        ),
        max_size=60,
    )
)
def test_it_stays_small_and_restores(seen):
    trail = Trail()
    for event_id, telling, topic, partition, offset in seen:
        trail.add(event_id, telling, topic, partition, offset)
    packed = msgspec.msgpack.encode(trail.snapshot())
    assert len(packed) <= 640 + 256 + 272 + 40
    again = Trail()
    again.restore(msgspec.msgpack.decode(packed))
    assert again.snapshot() == trail.snapshot()
    assert again.event_ids("x") == trail.event_ids("x")
    assert again.positions() == trail.positions()
    assert len(trail.event_ids("x")) <= 12
