"""Two-bit saturating counters over buckets, with the counts of counts that richness estimates need."""

from typing import Any

from detectors.errors import StateError
from detectors.primitives import plain

_SHIFT = (0, 2, 4, 6)


class BucketCounters:
    """How often each of `buckets` buckets was hit: 0, 1, 2, or 3 and more.

    `distinct` (S), `once` (f1) and `twice` (f2) are kept as counters move, so Good-Turing and Chao
    estimates are O(1) at any time.

    Parameters
    ----------
    buckets : int
        Number of buckets, a multiple of 4, at most 65,536.

    Notes
    -----
    State: buckets / 4 bytes, or two bytes per hit bucket while that is less. Cost: O(1).
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
        """State: the counters as they are, or as sorted little-endian uint16 `bucket << 2 | count`."""
        if self.buckets > 1 << 14 or self.distinct * 2 >= len(self._bits):
            return bytes(self._bits)
        sparse = bytearray()
        for place, byte in enumerate(self._bits):
            if byte:
                for slot in range(4):
                    if count := byte >> _SHIFT[slot] & 3:
                        sparse += ((place << 2 | slot) << 2 | count).to_bytes(2, "little")
        return bytes(sparse)

    def restore(self, state: Any) -> None:
        """Replace the state by a snapshot's; raises `StateError`."""
        saved = plain.raw(state, len(self._bits), "bucket counters")
        if len(saved) == len(self._bits):
            bits = bytearray(saved)
        else:
            bits = bytearray(len(self._bits))
            if len(saved) % 2 or self.buckets > 1 << 14:
                raise StateError("bucket counters: saved state has a wrong length")
            last = -1
            for at in range(0, len(saved), 2):
                entry = int.from_bytes(saved[at : at + 2], "little")
                bucket, count = entry >> 2, entry & 3
                if bucket <= last or bucket >= self.buckets or not count:
                    raise StateError("bucket counters: saved state is not a sorted list of hit buckets")
                last = bucket
                bits[bucket >> 2] |= count << _SHIFT[bucket & 3]
        tally = [0, 0, 0, 0]
        for byte in bits:
            if byte:
                for shift in _SHIFT:
                    tally[byte >> shift & 3] += 1
        self._bits = bits
        self.distinct, self.once, self.twice = tally[1] + tally[2] + tally[3], tally[1], tally[2]
