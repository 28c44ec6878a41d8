"""Sightings: a row for every link, next to each other, at the pool's partition; pools offline."""

import msgspec
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.observation import ROW
from detectors.pools import SEPARATOR
from streams import offline, topics
from streams.errors import SettingsError
from streams.intake import Record, Taken
from streams.replay import in_order, replay
from streams.settings import Settings, load_settings
from streams.settings_model import CampaignSettings
from streams.sightings import LINKS, partition_of, sightings_of
from tests.integration.traffic import START_MS, make_events

KEY = b"tests, not a secret"


def taken(payments, devices):
    rows = np.zeros(len(payments), ROW)
    rows["payment"], rows["device"] = payments, devices
    rows["offset"] = np.arange(len(payments))
    names = [f"a{at}" for at in range(len(payments))]
    return Taken(rows, names, [f"e{at}" for at in range(len(payments))], list(range(len(payments))), [])


def test_every_link_that_is_there_gives_a_row():
    found = sightings_of(taken([7, 0, 9], [0, 0, 8]), ("device", "payment"))
    assert found.accounts == [
        f"payment:{7:016x}{SEPARATOR}a0",
        f"device:{8:016x}{SEPARATOR}a2",
        f"payment:{9:016x}{SEPARATOR}a2",
    ]
    assert found.event_ids == ["e0", "e2", "e2"]
    assert found.appended_ms == [0, 2, 2]
    assert found.rows["offset"].tolist() == [0, 2, 2]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30))
def test_rows_of_one_record_stay_together_and_in_order(values):
    whole = taken([one for one, _ in values], [other for _, other in values])
    found = sightings_of(whole, ("payment", "device"))
    offsets = found.rows["offset"].tolist()
    assert offsets == sorted(offsets)
    assert len(offsets) == sum((one > 0) + (other > 0) for one, other in values)


def test_no_links_no_rows():
    assert len(sightings_of(taken([1], [1]), ()).rows) == 0
    assert len(sightings_of(taken([], []), ("payment",)).rows) == 0


def test_members_of_a_pool_share_its_partition():
    pool = "payment:0000000000000007"
    places = {partition_of(f"{pool}{SEPARATOR}member-{at}", 64) for at in range(100)}
    assert places == {topics.partition_of(pool, 64)}


def test_every_link_that_can_be_set_is_a_hash_of_an_observation():
    for name, field in LINKS.items():
        assert CampaignSettings(links=(name,)).links == (name,)
        assert ROW[field] == np.dtype("<u8")


def test_an_unknown_link_is_refused(monkeypatch):
    monkeypatch.setenv("EXTRACTION_CAMPAIGNS__LINKS", "payment,horoscope")
    with pytest.raises(SettingsError, match=r"campaigns\.links"):
        load_settings(None)


def run(events, *, links, partitions=4, sources=1, seed=0):
    settings = Settings(
        campaigns={"links": links}, topics={"partitions": partitions}, hash_key="tests, not a secret"
    )
    pipeline = offline.build(settings, KEY, source="bus", source_partitions=sources)
    offsets = [0] * sources
    records = []
    for at, (_, value) in enumerate(events):
        source = (at * 7 + seed) % sources
        records.append(Record(source, offsets[source], START_MS + 40 * 86_400_000, value))
        offsets[source] += 1
    return in_order(list(replay(pipeline, records))), pipeline


@pytest.mark.parametrize(("partitions", "sources"), [(1, 1), (8, 3), (3, 5)])
def test_a_campaign_is_the_same_for_any_partitions(partitions, sources):
    events = make_events(11, graders=0, shards=60)
    alerts, _ = run(events, links=("payment",))
    assert {alert.kind for alert in alerts} == {"coordinated_campaign"}
    # The made-up persons string random words together: pairs of them may be found as word salad.
    largest = max(alerts, key=lambda alert: alert.subject.account_count)
    assert largest.subject.account_count > 50
    assert all(member.startswith("shard-") for member in largest.subject.accounts)
    again, pipeline = run(events, links=("payment",), partitions=partitions, sources=sources)
    # Positions name where an event was read, which differs between three sources and one.
    bare = [msgspec.structs.replace(one, evidence=None) for one in alerts]
    assert [msgspec.structs.replace(one, evidence=None) for one in again] == bare
    pools = pipeline.pool_snapshots()
    assert len(pools) == 21, "one card of the campaign and one for every two persons"


def test_without_links_nothing_is_kept_of_pools():
    alerts, pipeline = run(make_events(11, graders=0, shards=60), links=())
    assert not alerts
    assert not pipeline.pool_snapshots()


def test_events_without_links_make_no_pools():
    events = [(name, orjson.dumps({**orjson.loads(value), "account": {}})) for name, value in make_events(3)]
    _, pipeline = run(events, links=tuple(LINKS)[:4])
    assert not pipeline.pool_snapshots()
