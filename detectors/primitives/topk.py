"""The most frequent hashes of a stream in fixed space."""

import struct
from array import array
from typing import Any

from detectors.errors import StateError
from detectors.primitives import plain

_MOST = 0xFFFF


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

    __slots__ = ("_counts", "_hashes", "slots")

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._hashes = array("Q")
        self._counts = array("H")

    def add(self, value: int) -> None:
        """Count one hash, an unsigned 64-bit integer."""
        hashes, counts = self._hashes, self._counts
        if value in hashes:
            place = hashes.index(value)
            if counts[place] < _MOST:
                counts[place] += 1
        elif len(hashes) < self.slots:
            # Made anew, because one that appends takes twice the memory it needs.
            self._hashes, self._counts = hashes + array("Q", (value,)), counts + array("H", (1,))
        else:
            place = counts.index(min(counts))
            hashes[place] = value
            if counts[place] < _MOST:
                counts[place] += 1

    def most(self) -> int:
        """Count of the most frequent hash; 0 when empty."""
        return max(self._counts, default=0)

    def snapshot(self) -> bytes:
        """State: per slot a little-endian uint64 hash and a uint16 count."""
        return b"".join(map(struct.Struct("<QH").pack, self._hashes, self._counts))

    def restore(self, state: Any) -> None:
        """Replace the state by a snapshot's; raises `StateError`."""
        saved = plain.raw(state, 10 * self.slots, "top hashes", multiple_of=10)
        pairs = list(struct.iter_unpack("<QH", saved))
        if len({value for value, _ in pairs}) != len(pairs) or not all(count for _, count in pairs):
            raise StateError("top hashes: saved state repeats a hash or has a zero count")
        self._hashes = array("Q", [value for value, _ in pairs])
        self._counts = array("H", [count for _, count in pairs])
