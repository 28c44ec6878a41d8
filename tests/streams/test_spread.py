"""Replay over processes: the same outcome for any number of them."""

import gzip

import pytest

from streams.settings import load_settings
from streams.spread import Job, run
from tests.integration.traffic import START_MS, make_events

EVENTS = make_events(5, ordinary=10, graders=3, each=30)


@pytest.fixture
def job(tmp_path):
    lines = [value for _, value in EVENTS]
    whole, cut = tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"
    whole.write_bytes(b"\n".join([*lines[:200], b"{}"]) + b"\n")
    cut.write_bytes(gzip.compress(b"\n".join(lines[200:]))[:-20])
    return Job(load_settings(), b"k" * 32, paths=(whole, cut), now_ms=START_MS + 10**10)


def test_any_number_of_processes_gives_the_same_also_of_a_damaged_file(job):
    alone = run(job)
    assert alone.alerts
    assert alone.refused == {"missing_field": 1}
    assert "b.jsonl.gz: damaged or cut off after line" in alone.damage
    assert run(job, workers=3) == alone
