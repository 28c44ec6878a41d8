"""The last few 64-bit hashes, for spotting repeats."""

from typing import Any

from detectors.errors import StateError
from detectors.primitives import plain


class RecentHashes:
    """Ring of the last `size` distinct hashes of eight bytes each.

    Notes
    -----
    State: at most 8 * size + 2 bytes. Cost: one search through 8 * size bytes, about 0.1 us for 32.
    """

    __slots__ = ("_next", "_ring", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._ring = bytearray()
        self._next = 0

    def __contains__(self, digest: bytes) -> bool:
        at = self._ring.find(digest)
        while at >= 0 and at % 8:  # a match across two neighbours is none
            at = self._ring.find(digest, at + 1)
        return at >= 0

    def add(self, digest: bytes) -> None:
        """Remember `digest` (eight bytes), forgetting the oldest when full."""
        at = self._next * 8
        if at == len(self._ring):  # grown by hand: by itself it takes an eighth more than it needs
            self._ring = bytearray(bytes(self._ring) + digest)
        else:
            self._ring[at : at + 8] = digest
        self._next = (self._next + 1) % self.size

    def snapshot(self) -> list[Any]:
        """State: where the next goes, and the hashes."""
        return [self._next, bytes(self._ring)]

    def restore(self, state: Any) -> None:
        """Replace the state by a snapshot's; raises `StateError`."""
        place, ring = plain.fields(state, 2, "recent hashes")
        ring = plain.raw(ring, 8 * self.size, "recent hashes", multiple_of=8)
        place = plain.integer(place, 0, self.size - 1, "recent hashes.next")
        if len(ring) < 8 * self.size and place != len(ring) // 8:
            raise StateError("recent hashes: saved place does not follow the last hash")
        self._ring, self._next = bytearray(ring), place
