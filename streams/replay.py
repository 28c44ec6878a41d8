"""Replay of files: the live pipeline over `.jsonl`, `.jsonl.gz` and `.jsonl.zst`, in bounded memory."""

import gzip
import io
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import zstandard

from detectors.alerts import Alert
from streams.errors import StreamsError
from streams.intake import Record
from streams.offline import OfflinePipeline

_CHUNK = 500  # records per step: as many as live ingest fetches
_FORMATS = (".jsonl", ".jsonl.gz", ".jsonl.zst")


class SourceError(StreamsError):
    """A source cannot be read; names the file and what to do."""


def open_lines(path: Path) -> BinaryIO:
    """A file of JSON Lines, decompressed by its ending; `-` is standard input.

    Raises
    ------
    SourceError
        No such file, not readable, or not of a known ending.
    """
    if str(path) == "-":
        return sys.stdin.buffer
    if not path.name.endswith(_FORMATS):
        raise SourceError(
            f"{path}: unknown ending; replay reads {', '.join(_FORMATS)} and - for standard input"
        )
    try:
        raw = path.open("rb")
    except OSError as error:
        raise SourceError(f"{path}: {os.strerror(error.errno or 0)}") from None
    if path.suffix == ".gz":
        return io.BufferedReader(gzip.GzipFile(fileobj=raw))
    if path.suffix == ".zst":
        return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(raw))
    return raw


def read_records(paths: Iterable[Path], now_ms: int | None = None) -> Iterator[Record]:
    """Records of files, one per line, as one source partition whose offsets are running line numbers from 0.

    Raises
    ------
    SourceError
        A file cannot be opened, or is truncated or corrupt; names the file and the line reached.
    """
    read_ms = int(time.time() * 1000) if now_ms is None else now_ms
    offset = 0
    for path in paths:
        with open_lines(path) as lines:
            first = offset
            try:
                for line in lines:
                    value = line.rstrip(b"\r\n")
                    if value:
                        yield Record(0, offset, read_ms, value)
                    offset += 1
            except (EOFError, OSError, zstandard.ZstdError) as error:
                raise SourceError(
                    f"{path}: damaged or cut off after line {offset - first}: {error}. "
                    "Alerts up to there stand; get the file again for the rest"
                ) from None


def replay(pipeline: OfflinePipeline, records: Iterable[Record]) -> Iterator[Alert]:
    """Alerts of a run, as they are raised."""
    chunk: list[Record] = []
    for record in records:
        chunk.append(record)
        if len(chunk) == _CHUNK:
            yield from pipeline.feed(chunk)
            chunk = []
    yield from pipeline.feed(chunk)
    yield from pipeline.finish()


def in_order(alerts: Iterable[Alert]) -> list[Alert]:
    """Alerts by event time, then id: the same list for any batch size or number of shards."""
    return sorted(alerts, key=lambda alert: (alert.time, alert.alert_id))
