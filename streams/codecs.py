"""Bytes to request events, strictly and within bounds; alerts to bytes and back."""

import dataclasses
import json
import math
from typing import Any

import msgspec
import numpy as np

from detectors.alerts import Alert
from detectors.events import RequestEvent

REASONS = (
    "empty",
    "too_large",
    "not_json",
    "bad_utf8",
    "too_deep",
    "missing_field",
    "wrong_type",
    "out_of_range",
    "too_many_messages",
    "too_many_parts",
    "time_out_of_range",
)
"""Why a record may be refused: a closed set, fit for a metric's label."""

_CONTRACT = "contracts/request-event.schema.json"
_FIXES = {
    "not_json": "a record is one JSON object",
    "bad_utf8": "a record is JSON in UTF-8",
    "missing_field": f"required fields are in {_CONTRACT}",
    "wrong_type": f"types are in {_CONTRACT}",
    "out_of_range": f"bounds are in {_CONTRACT}",
}
_FIX_OF_TIME = "write RFC 3339 with an offset, or whole milliseconds since 1970"


class EventError(ValueError):
    """A record is not a request event.

    Parameters
    ----------
    reason : str
        One of `REASONS`.
    detail : str
        Names the field and what was expected; never quotes the record.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


@dataclasses.dataclass(frozen=True, slots=True)
class EventLimits:
    """Bounds on what is decoded.

    Attributes
    ----------
    max_bytes : int
        Longest record. Bytes.
    max_messages : int
        Most messages of one exchange.
    max_parts : int
        Most content parts of one exchange, over all its messages.
    max_depth : int
        Deepest nesting of objects and arrays, fields that are ignored included; below 400, because
        the decoder itself gives up where the interpreter's stack ends.
    """

    max_bytes: int = 16 * 1024 * 1024
    max_messages: int = 10_000
    max_parts: int = 10_000
    max_depth: int = 200


_decode = msgspec.json.Decoder(RequestEvent).decode
_decode_untyped = msgspec.json.Decoder().decode
_decode_alert = msgspec.json.Decoder(Alert).decode
_encode_alert = msgspec.json.Encoder(order="deterministic").encode


def decode_event(value: bytes, limits: EventLimits) -> RequestEvent:
    """Decode one request event of our own format.

    Of a field that is given twice, the last one counts. Whole numbers may be written as 1.0. Fields
    that the contract does not name are skipped unread.

    Raises
    ------
    EventError
        The bytes are not JSON, or not what `contracts/request-event.schema.json` describes, or
        beyond `limits`.
    """
    if not value:
        raise EventError("empty", "the record has no value")
    if len(value) > limits.max_bytes:
        raise EventError(
            "too_large", f"{len(value)} bytes, the limit is {limits.max_bytes} (ingest.max_event_bytes)"
        )
    # Checked beforehand, because how deep the decoder gets depends on who calls it, and live and
    # replay are called from different depths. Counting brackets settles it for nearly every record.
    if value.count(b"{") + value.count(b"[") > limits.max_depth and _depth(value) > limits.max_depth:
        raise EventError("too_deep", f"nested deeper than {limits.max_depth} objects and arrays")
    try:
        event = _decode(value)
    except msgspec.ValidationError as error:
        event = _decode_tolerantly(value, error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refusal(error, value) from None
    messages = event.messages
    if len(messages) > limits.max_messages:
        raise EventError(
            "too_many_messages",
            f"{len(messages)} messages, the limit is {limits.max_messages} (ingest.max_messages)",
        )
    parts = 0
    for message in messages:
        if isinstance(message.content, list):
            parts += len(message.content)
    if parts > limits.max_parts:
        raise EventError("too_many_parts", f"{parts} content parts, the limit is {limits.max_parts}")
    return event


def _depth(value: bytes) -> int:
    """How deep objects and arrays of a JSON text are nested; what is not JSON gets some number."""
    unescaped = value.replace(b"\\\\", b"").replace(b'\\"', b"")
    structure = np.frombuffer(unescaped.translate(None, _NOT_STRUCTURE), dtype=np.uint8)
    in_text = np.logical_xor.accumulate(structure == ord('"'))
    opens = (structure == ord("{")) | (structure == ord("["))
    closes = (structure == ord("}")) | (structure == ord("]"))
    steps = np.subtract(opens & ~in_text, closes & ~in_text, dtype=np.int8)
    return int(np.cumsum(steps, dtype=np.int32).max(initial=0))


_NOT_STRUCTURE = bytes(set(range(256)) - set(b'{}[]"'))


def _decode_tolerantly(value: bytes, error: msgspec.ValidationError) -> RequestEvent:
    """Once more with numbers such as 1.0 as integers: JSON Schema counts them so, the decoder does not."""
    if "got `float`" not in str(error):
        raise _refusal(error, value) from None
    try:
        return msgspec.convert(_integral(_decode_untyped(value)), RequestEvent)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as failure:
        raise _refusal(failure, value) from None


def _integral(value: Any) -> Any:
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _integral(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_integral(inner) for inner in value]
    return value


def _refusal(error: Exception, value: bytes) -> EventError:
    """The reason behind a decoder's message. Its messages speak of types and paths, not of content."""
    said = str(error)
    if isinstance(error, RecursionError):
        return EventError("too_deep", "nested too deeply to be read")
    if isinstance(error, UnicodeDecodeError):
        reason, said = "bad_utf8", "text that is not UTF-8"
    elif isinstance(error, msgspec.ValidationError):
        if "missing required field" in said:
            reason = "missing_field"
        elif "length" in said or ">=" in said or "<=" in said or "out of range" in said:
            reason = "out_of_range"
        else:
            reason = "wrong_type"
            # An invalid enum value is quoted by the decoder; only where it is may be told.
            said = f"not an allowed value{_path(said)}" if "enum" in said else said
    elif "surrogate" in said or ("truncated" in said and _is_json(value)):
        # Half a surrogate pair near the end of a record looks like one that was cut off.
        reason, said = "bad_utf8", "an escaped surrogate without its other half"
    else:
        reason = "not_json"
    return EventError(reason, f"{said}; {_FIX_OF_TIME if said.endswith('`$.time`') else _FIXES[reason]}")


def _is_json(value: bytes) -> bool:
    try:
        json.loads(value.decode("utf-8"))
    except ValueError:
        return False
    return True


def _path(said: str) -> str:
    _, found, path = said.rpartition(" - at ")
    return f" at {path}" if found else ""


def check_time(time_ms: int, received_ms: int, earliest_ms: int, skew_ms: int) -> None:
    """Refuse event times that cannot be.

    Parameters
    ----------
    time_ms, received_ms : int
        Event time, and when the record was appended. Milliseconds since the epoch.
    earliest_ms : int
        Nothing happened before this.
    skew_ms : int
        How far the clocks of producers may be ahead.

    Raises
    ------
    EventError
        With reason `time_out_of_range`.
    """
    if time_ms < earliest_ms:
        raise EventError("time_out_of_range", "`time` is before events.earliest")
    if time_ms > received_ms + skew_ms:
        raise EventError(
            "time_out_of_range", "`time` is later than the record's arrival by more than events.clock_skew_s"
        )


def encode_alert(alert: Alert) -> bytes:
    """JSON of an alert; equal alerts give equal bytes."""
    return _encode_alert(alert)


def decode_alert(value: bytes) -> Alert:
    """Read an alert back.

    Raises
    ------
    ValueError
        The bytes are not an alert of this version.
    """
    try:
        return _decode_alert(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not an alert of version 1: {error}") from None
