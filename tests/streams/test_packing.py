"""Rows leave in order, to the partition of their account, and progress never runs ahead of them."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.observation import ROW
from streams import topics
from streams.batches import Progress, decode_batch
from streams.intake import Taken
from streams.packing import Packer

PROGRESS = [Progress(0, 100, 5, 0), Progress(1, 7, 3, 10)]


def by_number(account_id, partitions):
    return int(account_id) % partitions


def packer(partitions=3, rows_per_message=1000, partition_of=by_number):
    return Packer(
        partitions=partitions,
        partition_of=partition_of,
        rows_per_message=rows_per_message,
        observer="fingerprint",
        source="requests",
        source_partitions=2,
    )


def taken(places, appended_ms=None):
    """Rows at some places, each (source partition, offset, account)."""
    rows = np.zeros(len(places), dtype=ROW)
    rows["partition"] = [place[0] for place in places]
    rows["offset"] = [place[1] for place in places]
    return Taken(
        rows,
        [str(place[2]) for place in places],
        [f"{place[0]}-{place[1]}-{at}" for at, place in enumerate(places)],
        list(appended_ms or [50] * len(places)),
        [],
    )


def flushed(packing, also_empty=False):
    return [(partition, decode_batch(value)) for partition, value in packing.flush(PROGRESS, also_empty)]


def offsets(batch):
    return batch.records()["offset"].tolist()


def test_accounts_go_where_their_partition_is():
    packing = packer()
    packing.add(taken([(0, 0, 1), (0, 1, 2), (0, 2, 4), (0, 3, 2)]))
    sent = flushed(packing)
    assert [(partition, batch.account_ids(), offsets(batch)) for partition, batch in sent] == [
        (1, ["1", "4"], [0, 2]),
        (2, ["2", "2"], [1, 3]),
    ]
    assert sent[0][1].event_ids == ["0-0-0", "0-2-2"]


def test_batches_say_how_they_were_made():
    packing = packer(partitions=1)
    packing.add(taken([(0, 0, 0)]))
    packing.source_partitions = 9
    ((_, batch),) = flushed(packing)
    assert (batch.observer, batch.source, batch.source_partitions) == ("fingerprint", "requests", 9)


def test_progress_is_on_the_last_message_of_a_partition_alone():
    packing = packer(partitions=2, rows_per_message=2)
    packing.add(taken([(0, at, at % 2) for at in range(10)]))
    sent = flushed(packing)
    for partition in (0, 1):
        told = [batch.progress for target, batch in sent if target == partition]
        assert told == [[], [], PROGRESS]


@pytest.mark.parametrize(("also_empty", "expected"), [(True, [0, 1, 2]), (False, [1])])
def test_partitions_without_rows_get_progress_when_asked(also_empty, expected):
    packing = packer()
    packing.add(taken([(0, 0, 1)]))
    sent = flushed(packing, also_empty)
    assert [partition for partition, _ in sent] == expected
    assert all(batch.progress == PROGRESS for _, batch in sent)
    assert [len(batch.event_ids) for _, batch in sent] == [int(partition == 1) for partition in expected]


def test_nothing_waits_after_a_flush():
    packing = packer()
    packing.add(taken([(0, 0, 0), (0, 1, 1)]))
    packing.add(taken([]))
    assert packing.rows == 2
    assert len(flushed(packing)) == 2
    assert packing.rows == 0
    assert flushed(packing) == []


def test_oldest_append_time_is_of_the_partitions_own_rows():
    packing = packer(partitions=2)
    packing.add(taken([(0, 0, 0), (0, 1, 1)], [70, 30]))
    packing.add(taken([(0, 2, 0), (0, 3, 1)], [60, 40]))
    assert [batch.appended_ms for _, batch in flushed(packing)] == [60, 30]


@pytest.mark.parametrize(
    ("records", "limit", "expected", "why"),
    [
        ([0, 1, 1, 1, 2], 2, [[0, 1, 1, 1], [2]], "a record is finished though the message is full"),
        ([0, 0, 1, 1], 2, [[0, 0], [1, 1]], "a record that just fits begins no longer message"),
        ([0, 0, 0, 0], 1, [[0, 0, 0, 0]], "not even one row per message divides it"),
        ([0, 1, 2], 1, [[0], [1], [2]], "different records are divided"),
    ],
)
def test_rows_of_one_record_stay_together(records, limit, expected, why):
    packing = packer(partitions=1, rows_per_message=limit)
    packing.add(taken([(0, offset, 0) for offset in records]))
    assert [offsets(batch) for _, batch in flushed(packing)] == expected, why


def test_equal_offsets_of_different_sources_are_different_records():
    packing = packer(partitions=1, rows_per_message=1)
    packing.add(taken([(0, 5, 0), (1, 5, 0)]))
    assert len(flushed(packing)) == 2


@given(
    sizes=st.lists(st.integers(1, 4), max_size=30),
    partitions=st.integers(1, 5),
    limit=st.integers(1, 7),
    parts=st.integers(1, 4),
)
def test_every_row_leaves_once_in_order_and_undivided(sizes, partitions, limit, parts):
    places = [(0, offset, (offset * 7 + at) % 11) for offset, size in enumerate(sizes) for at in range(size)]
    packing = packer(partitions, limit)
    for part in range(parts):  # records come in several takes, each of them whole
        packing.add(taken([place for place in places if place[1] * parts // max(len(sizes), 1) == part]))
    sent = flushed(packing)
    for partition in range(partitions):
        mine = [batch for target, batch in sent if target == partition]
        got = [
            (offset, int(account))
            for batch in mine
            for offset, account in zip(offsets(batch), batch.account_ids(), strict=True)
        ]
        assert got == [place[1:] for place in places if place[2] % partitions == partition]
        for before, after in itertools.pairwise(mine):
            assert offsets(before)[-1] != offsets(after)[0]
            assert len(offsets(before)) >= limit


def test_live_routing_spreads_accounts_and_keeps_each_in_place():
    packing = packer(8, partition_of=topics.partition_of)
    packing.add(taken([(0, at, f"account-{at % 40}") for at in range(80)]))
    sent = flushed(packing)
    assert len(sent) > 4
    where = {}
    for partition, batch in sent:
        for account in batch.account_ids():
            assert where.setdefault(account, partition) == partition
    assert len(where) == 40
