"""State on the wire: versioned, checksummed, plain data. Nothing here is ever unpickled or evaluated.

An account's record is a fixed head (magic, version, event time of the last exchange, checksum) and
a msgpack body that the engine alone understands. The head can be read without the body, which is
what eviction needs.
"""

import struct
from typing import Any

import msgspec
import xxhash

from detectors.errors import StateError

ENVELOPE_VERSION = 1
_MAGIC = b"XDS"
_HEAD = struct.Struct("<3sBqI")  # magic, version, last order_ms, checksum of the body

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def seal(last_ms: int, body: Any) -> bytes:
    """Bytes of one state record."""
    packed = _encode(body)
    return _HEAD.pack(_MAGIC, ENVELOPE_VERSION, last_ms, xxhash.xxh32_intdigest(packed)) + packed


def last_ms_of(record: bytes) -> int:
    """Event time of the last exchange in a sealed record, without decoding it."""
    return int(_HEAD.unpack_from(record)[2])


def unseal(record: bytes) -> Any:
    """Body of a sealed record, as plain values.

    Raises
    ------
    StateError
        The record is truncated, damaged, or of a version this release cannot read.
    """
    if len(record) < _HEAD.size:
        raise StateError(f"state record of {len(record)} bytes is shorter than its head of {_HEAD.size}")
    magic, version, _, checksum = _HEAD.unpack_from(record)
    if magic != _MAGIC:
        raise StateError(
            f"state record starts with {magic!r}, expected {_MAGIC!r}: not written by this program"
        )
    if version != ENVELOPE_VERSION:
        raise StateError(
            f"state record has envelope version {version}, this release reads {ENVELOPE_VERSION}: "
            "run the release that wrote it, or newer"
        )
    packed = record[_HEAD.size :]
    if xxhash.xxh32_intdigest(packed) != checksum:
        raise StateError("state record is damaged: its checksum does not match")
    try:
        return _decode(packed)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StateError(f"state record is not plain msgpack: {error}") from None
