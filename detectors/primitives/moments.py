"""Running moments: River's statistics, whose state goes out and comes back as plain numbers, bit for bit."""

from typing import Any

from river import stats

from detectors.primitives import plain


class RunningMean(stats.Mean):
    """Mean of everything seen (River's `Mean`).

    State: two numbers. Cost: O(1).

    Examples
    --------
    >>> mean = RunningMean()
    >>> for x in (1.0, 2.0, 6.0):
    ...     mean.update(x)
    >>> mean.get(), mean.snapshot()
    (3.0, [3.0, 3.0])
    """

    def snapshot(self) -> list[float]:
        """State: weight and mean."""
        return [self.n, self._mean]

    def restore(self, state: Any) -> None:
        """Replace the state by a snapshot's; raises `StateError`."""
        n, mean = plain.fields(state, 2, "mean")
        n, mean = plain.number(n, "mean.n", low=0.0), plain.number(mean, "mean.mean")
        self.n, self._mean = n, mean


class RunningVariance(stats.Var):
    """Mean and variance of everything seen (River's `Var`, Welford).

    River's own `_from_state` takes the variance and multiplies it back, which loses the last bits;
    here the sum of squares itself is the state. Three numbers. Cost: O(1).

    Examples
    --------
    >>> variance = RunningVariance()
    >>> for x in (1.0, 2.0, 6.0):
    ...     variance.update(x)
    >>> variance.mean.get(), variance.get()
    (3.0, 7.0)
    """

    def snapshot(self) -> list[float]:
        """State: weight, mean, sum of squared deviations."""
        return [self.mean.n, self.mean._mean, self._S]

    def restore(self, state: Any) -> None:
        """Replace the state by a snapshot's; raises `StateError`."""
        n, mean, squares = plain.fields(state, 3, "variance")
        n, mean = plain.number(n, "variance.n", low=0.0), plain.number(mean, "variance.mean")
        self._S = plain.number(squares, "variance.squares", low=0.0)
        self.mean.n, self.mean._mean = n, mean


class DecayedMean:
    """Mean in which the newest value weighs `fading` and older ones fade (River's `EWMean`).

    River keeps this one in compiled code without access to its fields. Its whole state is the value
    and the first value is taken as it is, so feeding the saved value to a new one restores it exactly.

    Parameters
    ----------
    fading : float
        Weight of the newest value. Unitless, in (0, 1].
    """

    __slots__ = ("_mean", "fading", "n")

    def __init__(self, fading: float) -> None:
        self.fading = fading
        self.n = 0
        self._mean = stats.EWMean(fading)

    def update(self, x: float) -> None:
        """Take one value."""
        self.n += 1
        self._mean.update(x)

    def get(self) -> float:
        """The mean; 0 before the first value."""
        return self._mean.get()

    def snapshot(self) -> list[float]:
        """State: count and mean."""
        return [self.n, self._mean.get()]

    def restore(self, state: Any) -> None:
        """Replace the state by a snapshot's; raises `StateError`."""
        n, mean = plain.fields(state, 2, "decayed mean")
        n, mean = plain.integer(n, 0, 1 << 60, "decayed mean.n"), plain.number(mean, "decayed mean.mean")
        self.n, self._mean = n, stats.EWMean(self.fading)
        if n:
            self._mean.update(mean)
