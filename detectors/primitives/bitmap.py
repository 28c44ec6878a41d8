"""A bitmap that counts distinct hashes and remembers, with a known error, which were seen."""

import math
from typing import Any

import numpy as np

from detectors.errors import StateError
from detectors.primitives import plain

Bools = np.ndarray[Any, Any]


class DistinctBitmap:
    """Linear counting [1]_: the share of bits still clear tells how many distinct hashes set the others.

    Parameters
    ----------
    bits : int
        Size, a power of two from 8 to 65,536. The estimate is good to a few per cent up to
        about three distinct hashes per bit.

    Notes
    -----
    State: bits / 8 bytes, or two bytes per set bit while that is less. Cost: O(1) per hash; the
    estimate reads the whole bitmap and is for looks only.

    References
    ----------
    .. [1] K.-Y. Whang et al. (1990), A Linear-Time Probabilistic Counting Algorithm, TODS 15(2).
    """

    __slots__ = ("_mask", "_set")

    def __init__(self, bits: int) -> None:
        self._mask = bits - 1
        self._set = bytearray(bits // 8)

    def add(self, value: int) -> None:
        """Mark one hash; its lowest bits are used."""
        place = value & self._mask
        self._set[place >> 3] |= 1 << (place & 7)

    def add_all(self, values: tuple[int, ...]) -> None:
        """Mark every hash but 0, which stands for none."""
        marked, mask = self._set, self._mask
        for value in values:
            if value:
                place = value & mask
                marked[place >> 3] |= 1 << (place & 7)

    def seen(self, value: int) -> bool:
        """Whether the bit of `value` is set: always true if it was added, else by chance."""
        place = value & self._mask
        return bool(self._set[place >> 3] >> (place & 7) & 1)

    def marked(self) -> int:
        """Number of set bits."""
        return int.from_bytes(self._set, "little").bit_count()

    def distinct(self) -> float:
        """Estimated number of distinct hashes."""
        size = self._mask + 1
        clear = size - self.marked()
        # A full bitmap has no estimate; half a clear bit is the usual bound.
        return -size * math.log(max(clear, 0.5) / size)

    def snapshot(self) -> bytes:
        """State, see `pack`."""
        return pack(np.unpackbits(np.frombuffer(self._set, np.uint8), bitorder="little"))

    def restore(self, state: Any) -> None:
        """Replace the state by a snapshot's; raises `StateError`."""
        saved = plain.raw(state, len(self._set), "bitmap")
        self._set = bytearray(
            np.packbits(unpack(saved, self._mask + 1, "bitmap"), bitorder="little").tobytes()
        )


def pack(marked: Bools) -> bytes:
    """Which of n places are marked: sorted little-endian uint16, or a bitmap if that is shorter."""
    places = np.flatnonzero(marked)
    if 2 * len(places) < len(marked) // 8:
        return places.astype("<u2").tobytes()
    return np.packbits(marked, bitorder="little").tobytes()


def unpack(saved: bytes, size: int, name: str) -> Bools:
    """What `pack` packed, shape (size,), of zeros and ones; raises `StateError`."""
    if len(saved) == size // 8:
        return np.unpackbits(np.frombuffer(saved, np.uint8), bitorder="little")
    if len(saved) % 2 or len(saved) > size // 8:
        raise StateError(f"{name}: saved state has a wrong length")
    places = np.frombuffer(saved, "<u2").astype(np.int64)
    if len(places) and (places[-1] >= size or (np.diff(places) <= 0).any()):
        raise StateError(f"{name}: saved state is not a sorted list of marked places")
    marked = np.zeros(size, np.uint8)
    marked[places] = 1
    return marked
