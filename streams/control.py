"""Decisions about accounts in a file of JSON Lines, one `extraction.control/1` record per line."""

import os
from collections.abc import Sequence
from pathlib import Path

from detectors.control import Control, Register
from detectors.errors import ConfigError
from streams.errors import StreamsError
from streams.replay import SourceError, read_records

MOST_RECORD_BYTES = 64 * 1024
"""Larger records are refused: no text in them may have more than 1,024 characters."""


class ControlError(StreamsError):
    """Decisions could not be written, or not be read from their topic; says where and what to do."""


def decode_control(data: bytes) -> Control:
    """The record in a line or a message.

    Raises
    ------
    ConfigError
        It is no record, or too large.
    """
    if len(data) > MOST_RECORD_BYTES:
        raise ConfigError(f"control record: is larger than {MOST_RECORD_BYTES:,} bytes")
    return Control.decode(data)


def read_control(path: Path) -> Register:
    """The register that a file describes.

    Parameters
    ----------
    path : Path
        `.jsonl`, `.jsonl.gz` or `.jsonl.zst`.

    Raises
    ------
    SourceError
        The file cannot be read, or a line is no record; names the line. Nothing is left out in silence,
        because an allowance that is not seen raises an alarm and one that is misread hides one.
    """
    register = Register()
    for record in read_records([path], 0, max_bytes=MOST_RECORD_BYTES):
        try:
            register.apply(decode_control(record.value or b""))
        except ConfigError as error:
            raise SourceError(f"{path}:{record.offset + 1}: {error}") from None
    return register


def append_control(path: Path, records: Sequence[Control]) -> None:
    """Add records to the end of a file, which is made if there is none.

    Parameters
    ----------
    path : Path
        Ends in `.jsonl`.
    records : sequence of Control

    Raises
    ------
    ControlError
        Another ending, or the file cannot be written.
    """
    if path.suffix != ".jsonl":
        raise ControlError(f"{path}: decisions are added to files whose names end in .jsonl")
    lines = b"".join(record.encode() + b"\n" for record in records)
    try:
        with path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                # A last line without an end, left by hand perhaps: ours must not become part of it.
                lines = lines if file.read(1) == b"\n" else b"\n" + lines
            file.write(lines)
    except OSError as error:
        raise ControlError(f"{path}: cannot be written: {os.strerror(error.errno or 0)}") from None
