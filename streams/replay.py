"""Replay: the live pipeline over files or a topic's past, in bounded memory."""

import contextlib
import gzip
import io
import os
import sys
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

import zstandard

from detectors.alerts import Alert
from streams.codecs import decode_alert
from streams.errors import StreamsError
from streams.history import HistoryError
from streams.intake import Record
from streams.offline import OfflinePipeline

_CHUNK = 500  # records per step: as many as live ingest fetches
_FORMATS = (".jsonl", ".jsonl.gz", ".jsonl.zst")
_PACKED_BYTES = 1 << 10  # decompressed at a time; zstd may make 32 megabytes of them
_SKIPPED_BYTES = 1 << 16
_DAMAGE = (EOFError, OSError, zlib.error, zstandard.ZstdError)


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
        if path.suffix == ".gz":
            return io.BufferedReader(gzip.GzipFile(path))
        raw = path.open("rb")
    except OSError as error:
        raise SourceError(f"{path}: {os.strerror(error.errno or 0)}") from None
    return io.BufferedReader(_ZstdFile(raw)) if path.suffix == ".zst" else raw


class _ZstdFile(io.RawIOBase):
    """Reads zstd frames; unlike the library's own reader it fails where the last one is cut off."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._frame: Any = None  # being decompressed; None between frames
        self._packed = b""
        self._plain = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._plain:
            self._packed = self._packed or self._raw.read(_PACKED_BYTES)
            if not self._packed:
                if self._frame is None:
                    return 0
                raise EOFError("the compressed data end within a frame")
            if self._frame is None:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._plain = memoryview(self._frame.decompress(self._packed))
            self._packed = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame = None
        count = min(len(buffer), len(self._plain))
        buffer[:count] = self._plain[:count]
        self._plain = self._plain[count:]
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def _lines(file: IO[bytes], longest: int) -> Iterator[bytes]:
    """Lines without their end; of longer ones the first `longest` + 1 bytes, so that they can be refused."""
    while line := file.readline(longest + 1):
        rest = line
        while not rest.endswith(b"\n") and rest:
            rest = file.readline(_SKIPPED_BYTES)
        yield line.rstrip(b"\r\n")


def read_records(
    paths: Iterable[Path], now_ms: int | None = None, *, max_bytes: int = 16 * 1024 * 1024
) -> Iterator[Record]:
    """Records of files, one per line, as one source partition whose offsets are running line numbers from 0.

    Parameters
    ----------
    paths : iterable of Path
        As for `open_lines`; read one after another.
    now_ms : int or None
        Stands for when the records were appended; None takes the time of the call.
    max_bytes : int
        No more than one byte beyond is held of a line, and decoding then refuses it. Bytes.

    Raises
    ------
    SourceError
        A file cannot be opened, or is truncated or corrupt; names the file and the line reached.
    """
    read_ms = int(time.time() * 1000) if now_ms is None else now_ms
    offset = 0
    for path in paths:
        file = open_lines(path)
        # Standard input is not ours to close.
        with contextlib.nullcontext(file) if str(path) == "-" else file:
            first = offset
            try:
                for value in _lines(file, max_bytes):
                    if value:
                        yield Record(0, offset, read_ms, value)
                    offset += 1
            except _DAMAGE as error:
                raise SourceError(
                    f"{path}: damaged or cut off after line {offset - first}: {error}. "
                    "Alerts up to there stand; get the file again for the rest"
                ) from None


def read_alerts(paths: Iterable[Path]) -> Iterator[Alert]:
    """Alerts of files, one per line.

    Raises
    ------
    SourceError
        A file cannot be read, or a line is not an alert; names the file and the line.
    """
    for path in paths:
        for record in read_records([path], 0):
            try:
                yield decode_alert(record.value or b"")
            except ValueError as error:
                raise SourceError(f"{path}, line {record.offset + 1}: {error}") from None


def replay(pipeline: OfflinePipeline, records: Iterable[Record | int]) -> Iterator[Alert]:
    """Alerts of a run, as they are raised.

    Parameters
    ----------
    pipeline : OfflinePipeline
    records : iterable of Record or int
        A number is that of a source partition that has no more records.

    Raises
    ------
    SourceError, HistoryError
        From `records`; after the alerts of everything that could be read.
    """
    chunk: list[Record] = []
    damage = None
    try:
        for record in records:
            if isinstance(record, int):
                yield from pipeline.feed(chunk)
                chunk = []
                pipeline.end(record)
                continue
            chunk.append(record)
            if len(chunk) == _CHUNK:
                yield from pipeline.feed(chunk)
                chunk = []
    except (SourceError, HistoryError) as error:
        damage = error
    yield from pipeline.feed(chunk)
    yield from pipeline.finish()
    if damage is not None:
        raise damage


def in_order(alerts: Iterable[Alert]) -> list[Alert]:
    """Alerts by event time, then id: the same list for any batch size or number of shards."""
    return sorted(alerts, key=lambda alert: (alert.time, alert.alert_id))
