"""Checks of saved state: every value that comes back from a snapshot passes through here."""

import math
from typing import Any

from detectors.errors import StateError

MOST_EVENTS = 1 << 53  # counts stay exact as floats


def fields(state: Any, count: int, name: str) -> list[Any]:
    """A list (or tuple) of exactly `count` values."""
    if not isinstance(state, list | tuple) or len(state) != count:
        raise StateError(f"{name}: saved state must be a list of {count} values")
    return list(state)


def integer(value: Any, low: int, high: int, name: str) -> int:
    """An int in [low, high]; bool is not one."""
    if type(value) is not int or not low <= value <= high:
        raise StateError(f"{name}: saved value must be an integer in [{low}, {high}], not {value!r:.60}")
    return value


def number(value: Any, name: str, low: float = -1e300, high: float = 1e300) -> float:
    """A finite float in [low, high]; an int is accepted because encoders may shorten 2.0 to 2."""
    # Whole numbers beyond 2**53 no encoder makes of a float.
    if type(value) is int and abs(value) > MOST_EVENTS:
        value = None
    if type(value) not in (int, float) or not math.isfinite(value) or not low <= value <= high:
        raise StateError(f"{name}: saved value must be a number in [{low:g}, {high:g}], not {value!r:.60}")
    return float(value)


def raw(value: Any, most_bytes: int, name: str, multiple_of: int = 1) -> bytes:
    """Bytes of limited length, a whole number of `multiple_of`-byte items."""
    if type(value) is not bytes or len(value) > most_bytes or len(value) % multiple_of:
        raise StateError(f"{name}: saved value must be at most {most_bytes} bytes, items of {multiple_of}")
    return value


def text(value: Any, most_chars: int, name: str) -> str:
    """A string of limited length."""
    if type(value) is not str or len(value) > most_chars:
        raise StateError(f"{name}: saved value must be a string of at most {most_chars} characters")
    return value
