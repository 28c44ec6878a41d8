"""Intake refuses single records, never a batch, and gives every event its place in event-time order."""

import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.observation import ROW
from detectors.observe import Observer
from streams.codecs import EventLimits
from streams.intake import Intake, Record

T = 1_770_000_000_000
EARLIEST = T - 1_000_000
SKEW = 5_000
LATENESS = 100
OBSERVER = Observer(b"a key for tests")


def intake(lateness_ms=LATENESS, **limits):
    return Intake(
        OBSERVER, EventLimits(**limits), lateness_ms=lateness_ms, earliest_ms=EARLIEST, skew_ms=SKEW
    )


def record(offset, time_ms=T, partition=0, appended_ms=T + 10_000, **fields):
    event = {
        "event_id": f"e{partition}-{offset}",
        "time": time_ms,
        "account_id": f"account-{offset % 3}",
        "messages": [{"role": "user", "content": f"question {offset}"}],
        **fields,
    }
    return Record(partition, offset, appended_ms, msgspec.json.encode(event))


def order(taken):
    return taken.rows["order_ms"].tolist()


def test_rows_carry_where_they_were_read():
    taken = intake().take([record(7, partition=3), record(2, partition=9, appended_ms=T + 20_000)])
    assert taken.rows["partition"].tolist() == [3, 9]
    assert taken.rows["offset"].tolist() == [7, 2]
    assert taken.rows["time_ms"].tolist() == [T, T]
    assert taken.accounts == ["account-1", "account-2"]
    assert taken.event_ids == ["e3-7", "e9-2"]
    assert taken.appended_ms == [T + 10_000, T + 20_000]
    assert taken.refused == []


def test_refused_records_leave_the_others_as_they_are():
    bad = [
        Record(0, 1, T, None),
        Record(0, 2, T, b""),
        Record(0, 4, T, b"{"),
        record(5, account_id=None),
        record(6, EARLIEST - 1),
        record(8, T + 10_000 + SKEW + 1),
    ]
    good = [record(0), record(3, T + 1), record(7, T + 2)]
    mixed = sorted(bad + good, key=lambda entry: entry.offset)
    taken, alone = intake().take(mixed), intake().take(good)
    assert taken.rows.tobytes() == alone.rows.tobytes()
    assert [(entry.offset, error.reason) for entry, error in taken.refused] == [
        (1, "empty"),
        (2, "empty"),
        (4, "not_json"),
        (5, "wrong_type"),
        (6, "time_out_of_range"),
        (8, "time_out_of_range"),
    ]


@pytest.mark.parametrize("records", [[], [Record(0, 0, T, b"[]")]], ids=["nothing", "only refused"])
def test_no_events_no_rows(records):
    taken = intake().take(records)
    assert (taken.rows.shape, taken.rows.dtype) == ((0,), ROW)
    assert (taken.accounts, taken.event_ids, taken.appended_ms) == ([], [], [])
    assert len(taken.refused) == len(records)


def test_limits_are_kept():
    assert intake(max_bytes=20).take([record(0)]).refused[0][1].reason == "too_large"


def test_refused_records_do_not_move_the_newest_time():
    reader = intake()
    reader.take([record(0, T + 10_000 + SKEW + 1), record(1, T)])
    assert reader.newest_ms(0) == T


@pytest.mark.parametrize(
    ("times", "appended_ms", "expected", "why"),
    [
        ([T, T + 5, T + 3], T + 9999, [T, T + 5, T + 3], "within the lateness its own time counts"),
        ([T + 500, T], T + 9999, [T + 500, T + 400], "a later one is put at the low mark"),
        ([T + 500, T + 400], T + 9999, [T + 500, T + 400], "exactly at the mark is in order"),
        ([T + 500, T + 399], T + 9999, [T + 500, T + 400], "a millisecond below it is not"),
        ([T + 300, T], T + 200, [T + 200, T + 100], "a clock running ahead counts as append time"),
        ([T, T + 1000, T, T + 950], T + 9999, [T, T + 1000, T + 900, T + 950], "the mark never goes back"),
    ],
)
def test_place_in_order(times, appended_ms, expected, why):
    taken = intake().take([record(at, time, appended_ms=appended_ms) for at, time in enumerate(times)])
    assert order(taken) == expected, why


def test_partitions_have_marks_of_their_own():
    reader = intake()
    taken = reader.take([record(0, T + 500, 1), record(0, T, 2), record(1, T + 1, 1)])
    assert order(taken) == [T + 500, T, T + 400]
    assert (reader.low_ms(1), reader.low_ms(2), reader.low_ms(3)) == (T + 400, T - LATENESS, None)
    assert (reader.newest_ms(1), reader.newest_ms(3)) == (T + 500, None)


def test_a_resumed_partition_goes_on_and_one_without_a_past_begins_anew():
    resumed = intake()
    resumed.resume(0, T + 500)
    assert order(resumed.take([record(0, T)])) == [T + 400]
    resumed.resume(0, None)
    assert resumed.low_ms(0) is None
    assert order(resumed.take([record(0, T)])) == [T]
    resumed.resume(5, None)  # never known: nothing to forget
    assert resumed.newest_ms(5) is None


logs = st.lists(
    st.tuples(st.integers(0, 2), st.integers(-500, 500), st.integers(-200, 600)), min_size=1, max_size=20
)


@given(log=logs, cuts=st.sets(st.integers(1, 19)))
def test_promises_hold_and_neither_batches_nor_restarts_change_a_row(log, cuts):
    records = [
        record(at, T + moment, partition, appended_ms=T + appended)
        for at, (partition, moment, appended) in enumerate(log)
    ]
    whole = intake().take(records)

    reader, parts = intake(), []
    edges = [0, *sorted(cut for cut in cuts if cut < len(records)), len(records)]
    for start, stop in itertools.pairwise(edges):
        low = {partition: reader.low_ms(partition) for partition in range(3)}
        part = reader.take(records[start:stop])
        parts.append(part.rows)
        for row in part.rows:
            promised = low[int(row["partition"])]
            assert promised is None or row["order_ms"] >= promised
        # Another worker takes over and is told the newest times.
        heir = intake()
        for partition in range(3):
            heir.resume(partition, reader.newest_ms(partition))
        reader = heir
    assert np.concatenate(parts).tobytes() == whole.rows.tobytes()


@given(values=st.lists(st.one_of(st.binary(max_size=40), st.none()), max_size=10))
def test_nothing_makes_it_fail(values):
    taken = intake().take(Record(0, at, T, value) for at, value in enumerate(values))
    assert len(taken.refused) == len(values)


def test_fingerprint_is_the_observers():
    assert intake().fingerprint == OBSERVER.fingerprint
