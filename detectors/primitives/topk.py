"""The most frequent hashes of a stream in fixed space."""

import struct
from typing import Any

from detectors.errors import StateError
from detectors.primitives import plain

_MOST = 0xFFFF
_SLOT = struct.Struct("<QH")


class TopHashes:
    """SpaceSaving [1]_ over 64-bit hashes: whatever makes up more than 1 / slots of the stream is in it.

    A count is at least the true one and too high by at most `n / slots`. River's `HeavyHitters`
    would do, but its membership test never returns in 0.26, and its state is not plain.

    Parameters
    ----------
    slots : int
        Hashes kept at once, >= 1.

    Notes
    -----
    State: 10 bytes per used slot. Cost: O(slots). Counts stop at 65,535. Among the smallest counts
    the first slot is replaced, so the result depends on the stream alone.

    References
    ----------
    .. [1] A. Metwally, D. Agrawal, A. El Abbadi (2005), Efficient Computation of Frequent and Top-k
       Elements in Data Streams, ICDT.
    """

    __slots__ = ("_packed", "slots")

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._packed = b""  # one object instead of two arrays, which take twice the memory

    def add(self, value: int) -> None:
        """Count one hash, an unsigned 64-bit integer."""
        packed, digest = self._packed, value.to_bytes(8, "little")
        at = packed.find(digest)
        while at >= 0 and at % _SLOT.size:  # a match across two slots is none
            at = packed.find(digest, at + 1)
        if at >= 0:
            count = int.from_bytes(packed[at + 8 : at + _SLOT.size], "little")
        elif len(packed) < self.slots * _SLOT.size:
            self._packed = packed + _SLOT.pack(value, 1)
            return
        else:
            counts = self._counts()
            count = min(counts)
            at = counts.index(count) * _SLOT.size
        slot = _SLOT.pack(value, min(count + 1, _MOST))
        self._packed = packed[:at] + slot + packed[at + _SLOT.size :]

    def _counts(self) -> list[int]:
        return [count for _, count in _SLOT.iter_unpack(self._packed)]

    def most(self) -> int:
        """Count of the most frequent hash; 0 when empty."""
        return max(self._counts(), default=0)

    def snapshot(self) -> bytes:
        """State: per slot a little-endian uint64 hash and a uint16 count."""
        return self._packed

    def restore(self, state: Any) -> None:
        """Replace the state by a snapshot's; raises `StateError`."""
        saved = plain.raw(state, _SLOT.size * self.slots, "top hashes", multiple_of=_SLOT.size)
        pairs = list(_SLOT.iter_unpack(saved))
        if len({value for value, _ in pairs}) != len(pairs) or not all(count for _, count in pairs):
            raise StateError("top hashes: saved state repeats a hash or has a zero count")
        self._packed = saved
