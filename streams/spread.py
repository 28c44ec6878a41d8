"""Replay spread over processes: each reads everything, and works on its own share of the accounts.

Reading and decoding are a small part of the work, and every process needs the event times of all records to
put its own in order. What comes out is the same for any number of processes.
"""

import dataclasses
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from detectors.alerts import Alert
from streams import offline
from streams.codecs import decode_alert, encode_alert
from streams.control import read_control
from streams.errors import StreamsError
from streams.history import Range, TopicHistory
from streams.intake import Record
from streams.replay import in_order, read_records, replay
from streams.settings import Settings

__all__ = ["Job", "Outcome", "run"]

_SHOWN_EVERY_S = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """What to replay.

    Attributes
    ----------
    settings : Settings
    key : bytes
        Secret of the hashes.
    paths : tuple of Path
        Files; empty for a topic.
    topic : str
        Topic; empty for files.
    ranges : tuple of Range
        Of the topic.
    control : Path or None
        File of decisions.
    now_ms : int
        When the replay began, the same for all processes.
    """

    settings: Settings
    key: bytes
    paths: tuple[Path, ...] = ()
    topic: str = ""
    ranges: tuple[Range, ...] = ()
    control: Path | None = None
    now_ms: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it.

    Attributes
    ----------
    alerts : list of Alert
        By event time, then id.
    read : int
        Records.
    refused, silenced : dict of str to int
        Records that are not request events, by reason; alerts that were not raised, by what people said.
    remarks : list of str
        About gaps in a topic.
    damage : str
        Why reading broke off; empty if it did not. What was read until then counts.
    """

    alerts: list[Alert]
    read: int
    refused: dict[str, int]
    silenced: dict[str, int]
    remarks: list[str]
    damage: str


def run(job: Job, *, workers: int = 1) -> Outcome:
    """Replay in one process, or in several.

    Parameters
    ----------
    job : Job
    workers : int
        Processes. One runs in this one.

    Returns
    -------
    Outcome
        The same for any number of workers.
    """
    if workers == 1:
        found = [_share((job, 0, 1))]
    else:
        # Not forked: clients of Kafka and their threads do not survive that.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            found = list(pool.map(_share, [(job, number, workers) for number in range(workers)]))
    first = found[0]
    return Outcome(
        in_order(decode_alert(line) for one in found for line in one.lines),
        first.read,
        first.refused,
        dict(sum((Counter(one.silenced) for one in found), Counter())),
        first.remarks,
        first.damage,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Found:
    lines: list[bytes]
    read: int
    refused: dict[str, int]
    silenced: dict[str, int]
    remarks: list[str]
    damage: str


def _share(task: tuple[Job, int, int]) -> _Found:
    """The alerts of one share of the accounts."""
    job, number, count = task
    history = None
    if job.topic:
        client = job.settings.kafka.client()
        history = TopicHistory(client, job.topic, ranges=job.ranges, now_ms=job.now_ms)
    names = [path.name for path in job.paths]
    pipeline = offline.build(
        job.settings,
        job.key,
        source=job.topic or (names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"),
        source_partitions=len(job.ranges) or 1,
        decided=None if job.control is None else read_control(job.control),
        share=(number, count),
    )
    records: Iterable[Record | int] = (
        read_records(job.paths, job.now_ms, max_bytes=job.settings.ingest.max_event_bytes)
        if history is None
        else history.read()
    )
    if number == 0 and sys.stderr.isatty():
        records = _watched(records, history.total if history else None)
    lines: list[bytes] = []
    damage = ""
    try:
        lines.extend(encode_alert(alert) for alert in replay(pipeline, records))
    except StreamsError as error:
        damage = str(error)
    finally:
        if history:
            history.close()
    remarks = history.remarks() if history and not damage else []
    return _Found(lines, pipeline.read, pipeline.refused, pipeline.silenced, remarks, damage)


def topic_ranges(settings: Settings, topic: str, span: tuple[int | None, int | None]) -> Sequence[Range]:
    """What there is of a topic between two append times, now.

    Raises
    ------
    HistoryError
        The topic cannot be read.
    """
    history = TopicHistory(settings.kafka.client(), topic, from_ms=span[0], to_ms=span[1])
    history.close()
    return history.ranges


def _watched(records: Iterable[Record | int], total: int | None) -> Iterator[Record | int]:
    """The same records; says now and then on standard error how far they have come."""
    started = shown = time.monotonic()
    number = 0
    for record in records:
        yield record
        if isinstance(record, int):
            continue
        number += 1
        if number % 256 == 0 and (now := time.monotonic()) - shown >= _SHOWN_EVERY_S:
            shown, rate = now, number / (now - started)
            rest = "" if total is None else f" of {total:,}, {max(total - number, 0) / rate:,.0f} s left"
            sys.stderr.write(f"\r{number:,} records, {rate:,.0f}/s{rest}   ")
            sys.stderr.flush()
    sys.stderr.write("\r" + " " * 60 + "\r")
    sys.stderr.flush()
