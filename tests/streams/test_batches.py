"""Batches survive the trip, and anything else is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.observation import ROW
from streams.batches import BatchError, Progress, decode_batch, encode_batch


def encoded(accounts=("a", "b", "a"), count=3):
    rows = np.zeros(count, dtype=ROW)
    rows["offset"] = range(count)
    return encode_batch(
        observer="o",
        source="bus",
        source_partitions=4,
        progress=[Progress(2, 10, 123, 0)],
        appended_ms=7,
        accounts=accounts,
        event_ids=[f"e{at}" for at in range(count)],
        rows=rows,
    )


def test_round_trip():
    batch = decode_batch(encoded())
    assert batch.account_ids() == ["a", "b", "a"]
    assert batch.accounts == ["a", "b"]
    assert batch.event_ids == ["e0", "e1", "e2"]
    assert batch.records()["offset"].tolist() == [0, 1, 2]
    assert batch.progress == [Progress(2, 10, 123, 0)]


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(value):
    with pytest.raises(BatchError):
        decode_batch(value)


@given(st.data())
def test_damaged_batches_are_refused_or_consistent(data):
    value = bytearray(encoded())
    at = data.draw(st.integers(0, len(value) - 1))
    value[at] = data.draw(st.integers(0, 255))
    try:
        batch = decode_batch(bytes(value))
    except BatchError:
        return
    assert len(batch.account_ids()) == len(batch.event_ids) == len(batch.records())


def test_a_later_version_is_refused_with_the_order_of_upgrade():
    value = encoded()
    assert value[1] == 1
    with pytest.raises(BatchError, match="upgrade detect workers before"):
        decode_batch(value[:1] + b"\x02" + value[2:])
