"""Cadence: requests come evenly, around the clock, without the pauses of people."""

import math

from detectors.base import Plain, Spec
from detectors.errors import StateError
from detectors.observation import Observation
from detectors.primitives import plain
from detectors.primitives.moments import RunningVariance

_HOUR_MS = 3_600_000
_WEEK_H = 168
_SHORTEST_SPAN_MS = 4 * _HOUR_MS  # below it, how hours are filled says nothing
_REST_H = 4.0  # people pause longer than this once a day
_LATEST_MS = 1 << 53


class Cadence:
    """How evenly an account fills the hours it spans.

    Notes
    -----
    Score: mean of three parts, in [0, 1]: share of the spanned hours of the week with an exchange,
    1 / (1 + coefficient of variation of the gaps), and 4 h / (4 h + longest pause).
    State: seven numbers. Cost: O(1). Late events count as gap 0.
    Blind spots: ordinary services run around the clock and attackers can keep office hours, so this
    only supports other signals and never raises an alert.
    """

    __slots__ = ("_first", "_gaps", "_hours", "_last", "_longest", "_n")

    spec = Spec(
        id="cadence",
        version=1,
        high="coverage_seeking",
        reads=("order_ms",),
        unit="evenness of use over time",
        cap=1.0,
    )

    def __init__(self) -> None:
        self._gaps = RunningVariance()
        self._hours = 0  # one bit per hour of the week
        self._first = self._last = self._longest = self._n = 0

    def score_one(self) -> float | None:
        """Evenness; None before eight exchanges over four hours."""
        span = self._last - self._first
        if self._n < 8 or span < _SHORTEST_SPAN_MS:
            return None
        return (self._filled() + 1 / (1 + self._variation()) + _REST_H / (_REST_H + self._pause_h())) / 3

    def learn_one(self, seen: Observation) -> None:
        """Take the exchange's time."""
        at = seen.order_ms
        if not self._n:
            self._first = self._last = at
        gap = at - self._last if at > self._last else 0
        if self._n:
            self._gaps.update(gap / 1000.0)
        self._n += 1
        self._last += gap
        self._longest = max(self._longest, gap)
        self._hours |= 1 << (at // _HOUR_MS) % _WEEK_H

    def explain(self, score: float, typical: float) -> str:
        """One sentence with the numbers."""
        return (
            f"Exchanges in {self._filled():.0%} of the hours spanned, longest pause {self._pause_h():.1f} h, "
            f"gaps vary {self._variation():.1f} times their mean (evenness {score:.2f}, "
            f"usually {typical:.2f})."
        )

    def _filled(self) -> float:
        spanned = min(_WEEK_H, (self._last - self._first) // _HOUR_MS + 1)
        return min(1.0, self._hours.bit_count() / min(self._n, spanned))

    def _variation(self) -> float:
        mean = self._gaps.mean.get()
        return math.sqrt(self._gaps.get()) / mean if mean > 0 else 0.0

    def _pause_h(self) -> float:
        return self._longest / _HOUR_MS

    def snapshot(self) -> Plain:
        """Count, first and last time, longest gap, hours of the week, gaps."""
        hours = self._hours.to_bytes(_WEEK_H // 8, "little")
        return [self._n, self._first, self._last, self._longest, hours, self._gaps.snapshot()]

    def restore(self, state: Plain) -> None:
        """Replace the state by a snapshot's; raises `StateError`."""
        n, first, last, longest, hours, gaps = plain.fields(state, 6, "cadence")
        n = plain.integer(n, 0, plain.MOST_EVENTS, "cadence.n")
        first = plain.integer(first, -_LATEST_MS, _LATEST_MS, "cadence.first")
        last = plain.integer(last, first, _LATEST_MS, "cadence.last")
        longest = plain.integer(longest, 0, last - first, "cadence.longest")
        bits = int.from_bytes(plain.raw(hours, _WEEK_H // 8, "cadence.hours"), "little")
        fresh = RunningVariance()
        fresh.restore(gaps)
        if fresh.n != max(0, n - 1) or bool(bits) != bool(n):
            raise StateError(f"cadence: saved gaps or hours do not belong to {n} exchanges")
        self._n, self._first, self._last, self._longest = n, first, last, longest
        self._hours, self._gaps = bits, fresh
