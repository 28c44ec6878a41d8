"""Purpose: prompts read on average like those of query sets that models are distilled with."""

import operator
import struct

from detectors.base import Plain, Spec
from detectors.errors import require
from detectors.observation import PURPOSES, Observation
from detectors.observe.purpose import STEPS, UNKNOWN
from detectors.primitives import plain

_UNPACK = struct.Struct(f"{PURPOSES}b").unpack
_STATE = struct.Struct(f"<{PURPOSES}iII")  # sums by kind, the count, the last prompt; packed to save memory
_LOW_BITS = 0xFFFFFFFF
_PRIOR = 16  # exchanges of no purpose added to every account: a short one has shown little
LEAST = 1.0
"""Log-odds below which no average counts, whatever ordinary accounts do: about 3 to 1."""
_MOST_TEXTS = 1 << 23  # of a window, by far; what the sums have room for


class Purpose:
    """Mean log-odds of the most telling kind of query set, over what ordinary accounts of any source reach.

    Parameters
    ----------
    limits : tuple of float, optional
        Per kind, the mean log-odds that ordinary accounts stay below; see `detectors.fitting`. 1.0
        without a profile.
    kinds : tuple of str, optional
        Names of the kinds, for the explanation.

    Notes
    -----
    Score: largest mean log-odds over its limit, >= 0; most ordinary accounts have 0. None before the
    first text that a model of purposes has read.
    State: a count and a sum per kind, at most 52 bytes. Cost: O(kinds).
    Blind spots: kinds of query sets that no weights were learned for; kinds that ordinary batch work
    looks like, for which the limit is high; a few such prompts among many. One prompt sent again and
    again counts once: that is what loops do, and says nothing about what the account is for.

    Examples
    --------
    >>> from detectors.observation import Observation
    >>> read = bytes([60, 0, 0, 0, 0, 0, 0, 0])  # log-odds 3 for the first kind
    >>> purpose = Purpose()
    >>> for _ in range(48):
    ...     purpose.learn_one(Observation("a", "e", purpose=read))
    >>> round(purpose.score_one(), 2)
    1.25
    """

    __slots__ = ("_kinds", "_limits", "_state")

    spec = Spec(
        id="purpose",
        version=1,
        high="capability_elicitation",
        reads=("purpose",),
        unit="mean log-odds over what ordinary accounts stay below",
        grain=0.1,
    )

    def __init__(self, *, limits: tuple[float, ...] | None = None, kinds: tuple[str, ...] = ()) -> None:
        limits = limits or (LEAST,) * PURPOSES
        require(
            len(limits) <= PURPOSES and all(0.0 < limit < 1e6 for limit in limits),
            f"purpose: {limits=} must be at most {PURPOSES} positive numbers",
        )
        self._limits = limits
        self._kinds = kinds
        self._state = bytes(_STATE.size)

    def score_one(self) -> float | None:
        """Largest mean log-odds over its limit, at least 0; None before the first text that was read."""
        if not self._n:
            return None
        return max(0.0, *(mean - limit for mean, limit in zip(self.means(), self._limits, strict=False)))

    def means(self) -> tuple[float, ...]:
        """Mean log-odds of each kind that has a limit, drawn towards 0 while there are few exchanges."""
        *sums, n, _ = _STATE.unpack(self._state)
        whole = STEPS * (n + _PRIOR)
        return tuple(total / whole for total in sums[: len(self._limits)])

    @property
    def _n(self) -> int:
        return int(_STATE.unpack(self._state)[-2])

    def learn_one(self, seen: Observation) -> None:
        """Add the log-odds of a text that was read, unless it is the one before, sent again."""
        values = _UNPACK(seen.purpose)
        if max(values) == UNKNOWN:
            return
        *sums, n, last = _STATE.unpack(self._state)
        prompt = seen.prompt & _LOW_BITS
        if n and prompt and prompt == last:
            return
        self._state = _STATE.pack(*map(operator.add, sums, values), n + 1, prompt)

    def explain(self, score: float, typical: float) -> str:
        """One sentence with the numbers."""
        means = self.means()
        kind = max(range(len(means)), key=lambda at: means[at] - self._limits[at])
        name = self._kinds[kind] if kind < len(self._kinds) else f"number {kind + 1}"
        return (
            f"{self._n} prompts read on average like query sets of the kind '{name}': mean log-odds "
            f"{means[kind]:.2f}, {score:.2f} over what ordinary accounts stay below (usually {typical:.2f})."
        )

    def snapshot(self) -> Plain:
        """The sums, the count and the last prompt."""
        return list(_STATE.unpack(self._state))

    def restore(self, state: Plain) -> None:
        """Replace the state by a snapshot's; raises `StateError`."""
        *sums, n, last = plain.fields(state, PURPOSES + 2, "purpose")
        n = plain.integer(n, 0, _MOST_TEXTS, "purpose.n")
        most = -UNKNOWN * n
        checked = [plain.integer(one, -most, most, "purpose.sums") for one in sums]
        self._state = _STATE.pack(*checked, n, plain.integer(last, 0, _LOW_BITS, "purpose.last"))
