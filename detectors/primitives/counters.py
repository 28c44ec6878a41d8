"""Two-bit saturating counters over buckets, with the counts of counts that richness estimates need."""

from typing import Any

import numpy as np

from detectors.errors import StateError
from detectors.primitives import plain
from detectors.primitives.bitmap import pack, unpack

_SHIFT = (0, 2, 4, 6)
_SHIFTS = np.array(_SHIFT, dtype=np.uint8)
_COUNTS = np.arange(256, dtype=np.uint8)[:, None] >> _SHIFTS & 3  # the four counters of a byte


class BucketCounters:
    """How often each of `buckets` buckets was hit: 0, 1, 2, or 3 and more.

    `distinct` (S), `once` (f1) and `twice` (f2) are kept as counters move, so Good-Turing and Chao
    estimates are O(1) at any time.

    Parameters
    ----------
    buckets : int
        Number of buckets, a multiple of 8, at most 65,536.

    Notes
    -----
    State: two bytes per hit bucket, at most buckets / 8, and one bit per event, at most buckets / 4.
    Resident: buckets / 4 bytes. Cost: O(1).
    """

    __slots__ = ("_bits", "buckets", "distinct", "once", "twice")

    def __init__(self, buckets: int) -> None:
        self.buckets = buckets
        self._bits = bytearray(buckets // 4)
        self.distinct = self.once = self.twice = 0

    def add(self, bucket: int) -> None:
        """Count one hit of `bucket`, 0 <= bucket < buckets."""
        place, shift = bucket >> 2, _SHIFT[bucket & 3]
        count = self._bits[place] >> shift & 3
        if count == 3:
            return
        self._bits[place] += 1 << shift
        if count == 0:
            self.distinct += 1
            self.once += 1
        elif count == 1:
            self.once -= 1
            self.twice += 1
        else:
            self.twice -= 1

    def snapshot(self) -> bytes:
        """State: which buckets were hit (see `bitmap.pack`), which of these again, which of these again.

        Every hit bucket took one event and every one hit again another, so the two last parts take
        at most one bit per event together.
        """
        counts = _COUNTS[np.frombuffer(self._bits, np.uint8)].ravel()
        hit = counts[counts > 0]
        which = pack(counts > 0)
        more = np.packbits(np.concatenate((hit > 1, hit[hit > 1] > 2)), bitorder="little").tobytes()
        return len(which).to_bytes(2, "little") + which + more

    def restore(self, state: Any) -> None:
        """Replace the state by a snapshot's; raises `StateError`."""
        saved = plain.raw(state, 2 + self.buckets // 8 + self.buckets // 4, "bucket counters")
        size = int.from_bytes(saved[:2], "little")
        which, more = saved[2 : 2 + size], np.frombuffer(saved[2 + size :], np.uint8)
        if len(saved) < 2 or len(which) != size:
            raise StateError("bucket counters: saved state is cut off")
        hit = unpack(which, self.buckets, "bucket counters")
        distinct = int(hit.sum())
        flags = np.unpackbits(more, bitorder="little")
        again = flags[:distinct]
        repeated = int(again.sum())
        thrice = flags[distinct : distinct + repeated]
        if len(more) != -(-(distinct + repeated) // 8) or flags[distinct + repeated :].any():
            raise StateError("bucket counters: saved counts do not belong to the saved buckets")
        counts = np.zeros(self.buckets, np.uint8)
        counts[np.flatnonzero(hit)] = 1 + again
        counts[np.flatnonzero(counts == 2)] += thrice
        self._bits = bytearray((counts.reshape(-1, 4) << _SHIFTS).sum(axis=1, dtype=np.uint8).tobytes())
        self.distinct, self.once = distinct, distinct - repeated
        self.twice = repeated - int(thrice.sum())
