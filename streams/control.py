"""Decisions about accounts from a file of JSON Lines, one `extraction.control/1` record per line."""

from pathlib import Path

from detectors.control import Control, Register
from detectors.errors import ConfigError
from streams.replay import SourceError, read_records

MOST_RECORD_BYTES = 64 * 1024
"""Larger records are refused."""


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
            register.apply(Control.decode(record.value or b""))
        except ConfigError as error:
            raise SourceError(f"{path}:{record.offset + 1}: {error}") from None
    return register
