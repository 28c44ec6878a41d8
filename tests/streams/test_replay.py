"""Replay reads files whole or says where they end, and its alerts do not depend on how it goes about it."""

import gzip
import io
import random
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import zstandard

import streams.replay
from detectors.observe import Observer
from streams import offline
from streams.codecs import EventLimits
from streams.errors import StreamsError
from streams.intake import Intake, Record
from streams.offline import OfflinePipeline
from streams.replay import SourceError, in_order, open_lines, read_records, replay
from streams.settings import load_settings
from streams.shard import Limits
from tests.integration.traffic import START_MS, make_events
from tests.streams.stub_engine import Third

NOW_MS = START_MS + 10**10
LINES = [b'{"a": 1}', b"not json at all", b"3"]
CONTENT = b"\n".join(LINES) + b"\n"
OBSERVER = Observer(b"a key for tests")


def zstd(content):
    return zstandard.ZstdCompressor().compress(content)


def saved(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def values(*paths, **bounds):
    return [record.value for record in read_records(paths, NOW_MS, **bounds)]


# -- sources ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "packed", "why"),
    [
        ("a.jsonl", CONTENT, "plain"),
        ("a.jsonl.gz", gzip.compress(CONTENT), "gzip"),
        ("a.jsonl.zst", zstd(CONTENT), "zstd"),
        ("a.jsonl", CONTENT[:-1], "no line end at the end"),
        ("a.jsonl", CONTENT.replace(b"\n", b"\r\n"), "DOS line ends"),
        ("a.jsonl.gz", gzip.compress(CONTENT[:9]) + gzip.compress(CONTENT[9:]), "gzip files joined"),
        ("a.jsonl.zst", zstd(CONTENT[:9]) + zstd(CONTENT[9:]), "zstd files joined"),
        ("a.jsonl.zst", zstd(CONTENT) + zstd(b""), "an empty frame"),
    ],
)
def test_lines_become_records(tmp_path, name, packed, why):
    records = list(read_records([saved(tmp_path, name, packed)], NOW_MS))
    assert records == [Record(0, at, NOW_MS, line) for at, line in enumerate(LINES)], why


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_an_empty_file_has_no_records(tmp_path, name):
    assert values(saved(tmp_path, name, b"")) == []


def test_offsets_are_line_numbers_over_all_files_blank_lines_counted(tmp_path):
    first = saved(tmp_path, "a.jsonl", b"1\n\n2\n")
    second = saved(tmp_path, "b.jsonl.gz", gzip.compress(b"\r\n3\n"))
    found = [(record.offset, record.value) for record in read_records([first, second], NOW_MS)]
    assert found == [(0, b"1"), (2, b"2"), (4, b"3")]


def test_without_a_time_records_were_appended_now(tmp_path):
    (record,) = read_records([saved(tmp_path, "a.jsonl", b"1\n")])
    assert record.timestamp_ms > START_MS


def test_standard_input_is_read_and_left_open(monkeypatch):
    stdin = SimpleNamespace(buffer=io.BytesIO(CONTENT))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert values(Path("-"), Path("-")) == LINES
    assert not stdin.buffer.closed


@pytest.mark.parametrize("pack", [gzip.compress, zstd], ids=["gz", "zst"])
def test_packed_text_of_any_size_comes_back(tmp_path, pack):
    rng = random.Random(1)
    lines = [b"a" * 300_000, *(rng.randbytes(3000).hex().encode() for _ in range(50)), b"b"]
    suffix = "gz" if pack is gzip.compress else "zst"
    assert values(saved(tmp_path, f"a.jsonl.{suffix}", pack(b"\n".join(lines)))) == lines


@pytest.mark.parametrize(
    ("content", "expected", "why"),
    [
        (b"12345\n67\n", [b"12345", b"67"], "a line of just the limit is whole"),
        (b"12345\r\n67\n", [b"12345", b"67"], "also with a DOS line end"),
        (b"123456\n67\n", [b"123456", b"67"], "a longer one is seen to be longer"),
        (b"1234567890" * 20_000 + b"\n67", [b"123456", b"67"], "and no more is held of it"),
        (b"1" * 200_000, [b"111111"], "not even of the last one without an end"),
    ],
)
def test_of_long_lines_only_the_beginning_is_held(tmp_path, content, expected, why):
    assert values(saved(tmp_path, "a.jsonl", content), max_bytes=5) == expected, why


def random_lines():
    rng = random.Random(2)
    return b"".join(rng.randbytes(40).hex().encode() + b"\n" for _ in range(2000))


PLAIN = random_lines()
GZ, ZST = gzip.compress(PLAIN), zstd(PLAIN)


def flipped(value, at):
    return value[:at] + bytes([value[at] ^ 0xFF]) + value[at + 1 :]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.jsonl.gz", GZ[: len(GZ) // 2], "gzip cut in the middle"),
        ("a.jsonl.gz", GZ[:-4], "gzip without its check sum"),
        ("a.jsonl.gz", GZ + b"garbage", "something after the gzip data"),
        ("a.jsonl.gz", GZ[:200] + b"\xff" * 100 + GZ[300:], "damaged in the middle"),
        ("a.jsonl.gz", flipped(GZ, len(GZ) - 6), "wrong check sum"),
        ("a.jsonl.gz", CONTENT, "not gzip"),
        ("a.jsonl.zst", ZST[: len(ZST) // 2], "zstd cut in the middle"),
        ("a.jsonl.zst", ZST[:-1], "zstd without its last byte"),
        ("a.jsonl.zst", ZST + zstd(PLAIN)[:10], "a second frame cut off"),
        ("a.jsonl.zst", flipped(ZST, 4), "damaged head"),
        ("a.jsonl.zst", CONTENT, "not zstd"),
    ],
)
def test_damage_ends_with_file_and_line(tmp_path, name, content, why):
    path = saved(tmp_path, name, content)
    found = []
    with pytest.raises(SourceError, match=r"damaged or cut off after line \d+: .+\. Alerts up to") as caught:
        found.extend(record.value for record in read_records([path], NOW_MS))
    assert str(path) in str(caught.value), why
    assert f"after line {len(found)}:" in str(caught.value)
    assert all(value in PLAIN for value in found[:-1])
    assert isinstance(caught.value, StreamsError)


def test_lines_of_a_damaged_file_are_counted_in_that_file(tmp_path):
    whole = saved(tmp_path, "a.jsonl", CONTENT)
    with pytest.raises(SourceError, match=r"b\.jsonl\.gz: .* after line 0:"):
        values(whole, saved(tmp_path, "b.jsonl.gz", CONTENT))


@pytest.mark.parametrize("name", ["events.json", "events.csv", "events", "events.gz", "events.jsonl.bz2"])
def test_unknown_endings_are_refused_with_the_known_ones(tmp_path, name):
    with pytest.raises(SourceError, match=rf"{name}: unknown ending; .*\.jsonl\.zst and - for"):
        open_lines(saved(tmp_path, name, CONTENT))


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_what_is_no_file_is_refused(tmp_path, name):
    with pytest.raises(SourceError, match=rf"{name}: No such file"):
        open_lines(tmp_path / name)
    (tmp_path / name).mkdir()
    with pytest.raises(SourceError, match=rf"{name}: Is a directory"):
        open_lines(tmp_path / name)


# -- runs ------------------------------------------------------------------------------------------


def pipeline(partitions=4, lateness_ms=60_000, source_partitions=1):
    intake = Intake(
        OBSERVER,
        EventLimits(),
        lateness_ms=lateness_ms,
        earliest_ms=START_MS - 10**9,
        skew_ms=1000,
    )
    return OfflinePipeline(
        Third(), intake, Limits(), source="file", source_partitions=source_partitions, partitions=partitions
    )


def shuffled_records():
    """Events a little out of order, refused ones among them."""
    events = make_events(5, ordinary=10, graders=2, each=20)
    rng = random.Random(3)
    keyed = [(at + rng.uniform(-20, 20), value) for at, (_, value) in enumerate(events)]
    lines = [value for _, value in sorted(keyed)]
    lines[10:10] = [b"{}", b"not json"]
    return [Record(0, at, NOW_MS, line) for at, line in enumerate(lines)]


RECORDS = shuffled_records()


def test_a_run_reads_everything_and_finishes():
    run = pipeline()
    alerts = list(replay(run, RECORDS))
    assert run.read == len(RECORDS)
    assert run.refused == {"missing_field": 1, "not_json": 1}
    counts = {account: len(run.account(account).events) for account in run.account_ids()}
    assert sum(counts.values()) == len(RECORDS) - 2
    assert len(alerts) == sum(count // 3 for count in counts.values()) > 30
    assert {alert.technique for alert in alerts} == {"file"}


@pytest.mark.parametrize("chunk", [1, 7, 500, 10_000])
@pytest.mark.parametrize("partitions", [1, 3, 16])
def test_chunks_and_shards_do_not_change_the_alerts(monkeypatch, chunk, partitions):
    expected_run = pipeline()
    expected = in_order(replay(expected_run, RECORDS))
    monkeypatch.setattr(streams.replay, "_CHUNK", chunk)
    run = pipeline(partitions)
    assert in_order(replay(run, RECORDS)) == expected
    assert run.account_ids() == expected_run.account_ids()
    for account in run.account_ids():
        assert run.snapshot(account) == expected_run.snapshot(account)


def test_nor_do_they_change_the_state_of_the_real_detectors(monkeypatch):
    def states(partitions, chunk):
        monkeypatch.setattr(streams.replay, "_CHUNK", chunk)
        settings = load_settings(overrides={"topics.partitions": partitions})
        run = offline.build(settings, b"k" * 32, source="file")
        alerts = in_order(replay(run, RECORDS))
        return alerts, {account: run.snapshot(account) for account in run.account_ids()}

    expected = states(1, 10_000)
    assert len(expected[1]) == 12
    assert states(5, 13) == expected


def test_alerts_of_one_account_come_as_its_events_did():
    newest = {}
    for alert in replay(pipeline(), RECORDS):
        assert alert.evidence.event_count == newest.get(alert.subject.id, 0) + 3
        newest[alert.subject.id] = alert.evidence.event_count


def test_no_records_no_alerts():
    run = pipeline()
    assert list(replay(run, [])) == []
    assert (run.read, run.refused, run.account_ids(), run.snapshot("a")) == (0, {}, [], None)


def test_what_could_be_read_of_a_damaged_source_counts():
    def damaged():
        yield from RECORDS[:100]
        raise SourceError("cut off")

    found = []
    with pytest.raises(SourceError, match="cut off"):
        found.extend(replay(run := pipeline(), damaged()))
    assert found == list(replay(pipeline(), RECORDS[:100])) != []
    assert run.read == 100


def test_other_failures_are_not_held_back():
    def broken():
        yield RECORDS[0]
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        list(replay(pipeline(), broken()))


def test_order_is_by_time_then_id():
    alerts = list(replay(pipeline(), RECORDS))
    ordered = in_order(reversed(alerts))
    assert ordered == in_order(alerts)
    keys = [(alert.time, alert.alert_id) for alert in ordered]
    assert keys == sorted(keys)


def interleaved(seed, ended):
    """The records over three of four source partitions, read in some order; `ended` tells the ends."""
    rng = random.Random(seed)
    parts = {
        part: [Record(part, at, NOW_MS, r.value) for at, r in enumerate(RECORDS[part::3])]
        for part in range(3)
    }
    if ended:
        yield 3
    while parts:
        part = rng.choice(sorted(parts))
        for _ in range(rng.randrange(1, 60)):
            if not parts[part]:
                break
            yield parts[part].pop(0)
        if not parts[part]:
            del parts[part]
            if ended:
                yield part


@pytest.mark.parametrize("seed", range(5))
def test_the_order_in_which_partitions_are_read_does_not_change_the_alerts(seed):
    expected = in_order(replay(pipeline(source_partitions=4), interleaved(100, False)))
    assert len(expected) > 30
    assert in_order(replay(pipeline(source_partitions=4), interleaved(seed, True))) == expected


def test_nothing_waits_for_a_partition_that_has_ended():
    run = pipeline(source_partitions=2)
    records = [Record(0, at, NOW_MS, record.value) for at, record in enumerate(RECORDS)]
    held = list(replay(run, [*records[:200]]))
    assert held, "at the end everything is applied"
    run = pipeline(source_partitions=2)
    assert run.feed(records) == []
    run.end(1)
    run.end(0)
    assert run.feed([])
    assert run.finish() == []


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("links", [(), ("payment", "network")])
def test_shares_together_raise_what_one_process_raises(count, links):
    settings = load_settings(overrides={"topics.partitions": 5, "campaigns.links": list(links)})

    def alerts(share):
        run = offline.build(settings, b"k" * 32, source="file", share=share)
        return list(replay(run, RECORDS)), run.account_ids(), run.read

    whole, accounts, read = alerts((0, 1))
    parts = [alerts((number, count)) for number in range(count)]
    assert whole
    assert in_order(alert for part, _, _ in parts for alert in part) == in_order(whole)
    assert sorted(account for _, own, _ in parts for account in own) == accounts
    assert {one for *_, one in parts} == {read}
