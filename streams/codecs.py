"""Bytes to request events, strictly and within bounds; alerts to bytes and back."""

import dataclasses
import math
from typing import Any

import msgspec
import orjson

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
    "time_out_of_range",
)
"""Why a record may be refused: a closed set, fit for a metric's label."""


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
    """

    max_bytes: int = 16 * 1024 * 1024
    max_messages: int = 10_000


_decode = msgspec.json.Decoder(RequestEvent).decode
_decode_alert = msgspec.json.Decoder(Alert).decode
_encode_alert = msgspec.json.Encoder(order="deterministic").encode


def decode_event(value: bytes, limits: EventLimits) -> RequestEvent:
    """Decode one request event of our own format.

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
    try:
        event = _decode(value)
    except msgspec.ValidationError as error:
        event = _decode_tolerantly(value, error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refusal(error) from None
    if len(event.messages) > limits.max_messages:
        raise EventError(
            "too_many_messages",
            f"{len(event.messages)} messages, the limit is {limits.max_messages} (ingest.max_messages)",
        )
    return event


def _decode_tolerantly(value: bytes, first: msgspec.ValidationError) -> RequestEvent:
    """Once more with numbers such as 1.0 as integers: JSON Schema counts them so, msgspec does not."""
    try:
        return msgspec.convert(_integral(orjson.loads(value)), RequestEvent)
    except (msgspec.ValidationError, orjson.JSONDecodeError, RecursionError):
        raise _refusal(first) from None


def _integral(value: Any) -> Any:
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _integral(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_integral(inner) for inner in value]
    return value


def _refusal(error: Exception) -> EventError:
    """The reason behind a decoder's message. Its messages speak of types and paths, not of content."""
    said = str(error)
    if isinstance(error, RecursionError):
        return EventError("too_deep", "nested too deeply to be read")
    if isinstance(error, UnicodeDecodeError):
        return EventError("bad_utf8", "text that is not UTF-8")
    if isinstance(error, msgspec.ValidationError):
        if "missing required field" in said:
            return EventError("missing_field", said)
        if "length" in said or ">=" in said or "<=" in said or "out of range" in said:
            return EventError("out_of_range", said)
        # An invalid enum value is quoted by the decoder; only where it is may be told.
        return EventError("wrong_type", said if "enum" not in said else f"not an allowed value{_path(said)}")
    if "utf-8" in said.lower() or "surrogate" in said.lower():
        return EventError("bad_utf8", said)
    return EventError("not_json", said)


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
