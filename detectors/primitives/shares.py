"""Shares of exchanges with certain marks, each against what hardly any ordinary account exceeds."""

import struct
from array import array
from typing import Any

from detectors.errors import StateError, require
from detectors.primitives import plain

_EVENTS = 0xFFFFFFFF
_BEFORE = 16  # unmarked exchanges put before the first, so that two marks among eight are no rate yet
_entry = struct.Struct("<BI")


class MarkShares:
    """Counts of exchanges with each mark.

    A likelihood ratio would grow with every exchange, so that a thousand prompts from a customer's one
    template outweigh everything else, although they say no more than that there is such a template. A
    share does not; and ceilings tell marks that some ordinary accounts carry in every exchange from
    those that none does.

    Parameters
    ----------
    ceilings : tuple of float
        Per mark, the share that one ordinary account in 500 exceeds. In (0, 1]; at most 32 marks.

    Notes
    -----
    State: 5 bytes per mark ever seen in the window plus one number. Cost: O(marks carried).

    Examples
    --------
    >>> shares = MarkShares((0.5, 0.05))
    >>> for marks in (0b01, 0b01, 0b10, 0):
    ...     shares.update(marks)
    >>> shares.relative()
    [(1.0, 1, 1), (0.2, 0, 2)]
    """

    __slots__ = ("_ceilings", "_counts", "n")

    def __init__(self, ceilings: tuple[float, ...]) -> None:
        self._ceilings = ceilings
        self.n = 0
        self._counts = array("I", bytes(4 * len(ceilings)))  # a fifth of what a dict takes

    def update(self, marks: int) -> None:
        """Take one exchange; bit i of `marks` says whether it carries mark i."""
        self.n += 1
        while marks:
            bit = marks & -marks
            marks ^= bit
            self._counts[bit.bit_length() - 1] += 1

    def relative(self) -> list[tuple[float, int, int]]:
        """Share, as if 16 unmarked exchanges came first, over its ceiling; mark; count. Largest first."""
        found = [
            (count / (self.n + _BEFORE) / self._ceilings[mark], mark, count)
            for mark, count in enumerate(self._counts)
            if count
        ]
        found.sort(key=lambda entry: (-entry[0], entry[1]))
        return found

    def largest(self) -> float:
        """Largest share over its ceiling; 0 when no mark was seen."""
        found = self.relative()
        return found[0][0] if found else 0.0

    def shares(self) -> tuple[float, ...]:
        """Share of exchanges with each mark."""
        return tuple(count / max(self.n, 1) for count in self._counts)

    def snapshot(self) -> list[Any]:
        """State: exchanges, and packed per mark seen: mark, count."""
        return [self.n, b"".join(_entry.pack(*pair) for pair in enumerate(self._counts) if pair[1])]

    def restore(self, state: Any) -> None:
        """Replace the state by a snapshot's; raises `StateError`."""
        n, packed = plain.fields(state, 2, "mark shares")
        n = plain.integer(n, 0, _EVENTS, "mark shares.n")
        most = len(self._ceilings)
        packed = plain.raw(packed, _entry.size * most, "mark shares", multiple_of=_entry.size)
        counts = array("I", bytes(4 * most))
        for mark, count in _entry.iter_unpack(packed):
            if mark >= most or counts[mark] or not 1 <= count <= n:
                raise StateError(f"mark shares: {count} exchanges of {n} with mark {mark} are not possible")
            counts[mark] = count
        self.n, self._counts = n, counts


def checked_ceilings(ceilings: tuple[float, ...], count: int, name: str) -> tuple[float, ...]:
    """The ceilings, unless their number or range is wrong."""
    require(
        len(ceilings) == count and all(0.0 < one <= 1.0 for one in ceilings),
        f"{name}: ceilings must be {count} shares in (0, 1], not {ceilings}",
    )
    return tuple(ceilings)
