"""Likelihood ratios of rare marks: which of up to 32 properties are far more common than they should be."""

import dataclasses
import math
import struct
from functools import lru_cache
from typing import Any

from detectors.errors import StateError, require
from detectors.primitives import plain

_EVENTS = 0xFFFFFFFF


@dataclasses.dataclass(frozen=True, slots=True)
class MarkOdds:
    """What an event with, and one without, each mark adds to the log-likelihood ratio; shared by accounts."""

    hit: tuple[float, ...]
    miss: tuple[float, ...]


@lru_cache(maxsize=64)
def odds(base_rates: tuple[float, ...]) -> MarkOdds:
    """Log-likelihood ratios of "five times the base rate, at least one in five" against the base rate.

    One in five is the share of marked exchanges from which harvesting pays: below it most of what is
    bought is not the material sought. Five-fold keeps marks that are common anyway from counting.
    Rates are held within [0.0005, 0.15]: no reference of some thousand exchanges knows a smaller one.
    """
    hit, miss = [], []
    for given in base_rates:
        require(0.0 <= given <= 1.0, f"base rate {given!r} must be in [0, 1]")
        base = min(max(given, 0.0005), 0.15)
        raised = min(max(5 * base, 0.2), 0.8)
        hit.append(math.log(raised / base))
        miss.append(math.log((1 - raised) / (1 - base)))
    return MarkOdds(tuple(hit), tuple(miss))


class MarkLikelihoods:
    """One-sided CUSUM of the log-likelihood ratio of each mark [1]_, brought up to date only when hit.

    The sum falls a little with every event without the mark and is held at 0, so a campaign that
    starts late is not diluted by what came before.

    Parameters
    ----------
    odds : MarkOdds
        Of as many marks as are tracked, at most 32.

    Notes
    -----
    State: 15 bytes per mark ever hit in the window plus one number. Cost: O(marks hit) per event.

    References
    ----------
    .. [1] E. S. Page (1954), Continuous Inspection Schemes, Biometrika 41.
    """

    __slots__ = ("_odds", "_sums", "n")

    def __init__(self, odds: MarkOdds) -> None:
        self._odds = odds
        self.n = 0
        self._sums: dict[int, list[Any]] = {}  # mark -> [sum, events at its last hit, hits]

    def update(self, marks: int) -> None:
        """Take one event; bit i of `marks` says whether it carries mark i."""
        self.n = n = self.n + 1
        while marks:
            bit = marks & -marks
            marks ^= bit
            mark = bit.bit_length() - 1
            if mark >= len(self._odds.hit):
                continue
            held = self._sums.get(mark)
            if held is None:
                self._sums[mark] = [self._odds.hit[mark], n, 1]
            else:
                fallen = held[0] + (n - held[1] - 1) * self._odds.miss[mark]
                held[0] = (fallen if fallen > 0.0 else 0.0) + self._odds.hit[mark]
                held[1] = n
                held[2] += 1

    def sums(self) -> list[tuple[float, int, int]]:
        """Sum (nats, > 0), mark and hits of every mark whose sum is above 0, largest sum first."""
        found = []
        for mark, (total, at, hits) in self._sums.items():
            now = total + (self.n - at) * self._odds.miss[mark]
            if now > 0.0:
                found.append((now, mark, hits))
        found.sort(key=lambda entry: (-entry[0], entry[1]))
        return found

    def shares(self) -> tuple[float, ...]:
        """Share of events with each mark."""
        marks = range(len(self._odds.hit))
        return tuple(self._sums[mark][2] / self.n if mark in self._sums else 0.0 for mark in marks)

    def snapshot(self) -> list[Any]:
        """State: events, and per mark ever hit: mark, hits, events at the last hit, sum."""
        packed = b"".join(
            struct.pack("<BHId", mark, min(hits, 0xFFFF), at, total)
            for mark, (total, at, hits) in sorted(self._sums.items())
        )
        return [self.n, packed]

    def restore(self, state: Any) -> None:
        """Replace the state by a snapshot's; raises `StateError`."""
        n, packed = plain.fields(state, 2, "mark likelihoods")
        n = plain.integer(n, 0, _EVENTS, "mark likelihoods.n")
        most = len(self._odds.hit)
        sums: dict[int, list[Any]] = {}
        for mark, hits, at, total in struct.iter_unpack(
            "<BHId", plain.raw(packed, 15 * most, "mark likelihoods", multiple_of=15)
        ):
            if mark >= most or mark in sums or not 1 <= at <= n or not 1 <= hits <= n:
                raise StateError(f"mark likelihoods: entry of mark {mark} is not possible after {n} events")
            sums[mark] = [plain.number(total, "mark likelihoods.sum", low=0.0, high=1e9), at, hits]
        self.n, self._sums = n, sums
