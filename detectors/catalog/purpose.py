"""Purpose: prompts read on average like those of query sets that models are distilled with."""

import math
import operator
import struct
from collections.abc import Sequence

from detectors.base import Plain, Spec
from detectors.errors import require
from detectors.observation import PURPOSES, Observation
from detectors.observe.purpose import STEPS, UNKNOWN
from detectors.primitives import plain

_STATE = struct.Struct(f"<{PURPOSES}iI")  # sums by kind, count; packed to save memory
_PRIOR = 16  # exchanges of no purpose added to every account: a short one has shown little
_SHARE = 0.25
_GRAINS = 1000  # of a log-likelihood ratio, so that sums are whole numbers
_SPREAD = 0.5  # of sources even where limits are low; else the kinds with the lowest would decide alone
LEAST = 0.25
"""Mean log-likelihood ratio below which nothing counts, whatever ordinary accounts do."""
_MOST_TEXTS = 1 << 18  # what the sums have room for; prompts without a hash have no cell that bounds them


def log_ratio(log_odds: float) -> float:
    """Log-likelihood ratio of a prompt: a quarter from query sets against none."""
    return math.log1p(_SHARE * math.expm1(log_odds))


_RATIO = tuple(
    round(_GRAINS * log_ratio((one if one < 128 else one - 256) / STEPS)) for one in range(256)
)  # by the unsigned byte
_NOT_READ = (UNKNOWN + 256).to_bytes(1, "little") * PURPOSES


def _excess(mean: float, limit: float) -> float:
    return (mean - limit) / (limit + _SPREAD)


def leaning(purpose: bytes, limits: Sequence[float]) -> int:
    """How far one prompt is above what ordinary accounts stay below, of the kind where that is most.

    Parameters
    ----------
    purpose : bytes
        Of an observation.
    limits : sequence of float
        As of `Purpose`.

    Returns
    -------
    int
        Thousandths of a log-likelihood ratio; 0 for a text that was not read.
    """
    if purpose == _NOT_READ or not limits:
        return 0
    return max(_RATIO[one] - round(_GRAINS * limit) for one, limit in zip(purpose, limits, strict=False))


class Purpose:
    """Evidence that a part of an account's prompts are from the most telling kind of query set.

    Each prompt's log-odds x count as log(3/4 + e^x / 4), its log-likelihood ratio if every fourth
    prompt were of the kind, and the mean of that over prompts is compared with what ordinary accounts
    of any source reach. A mean of log-odds would let ordinary prompts outvote the others: this way one
    ordinary prompt takes away at most log(3/4), and query sets amid other work keep most of their weight.

    Parameters
    ----------
    limits : tuple of float, optional
        Per kind, the mean that ordinary accounts stay below; see `detectors.fitting`. `LEAST` without
        a profile.
    kinds : tuple of str, optional
        Names of the kinds, for the explanation; "kind/source" for a single query set of one.

    Notes
    -----
    Score: the mean's excess over its limit, divided by limit + 1/2, of the kind where that is most,
    >= 0; most ordinary accounts have 0. Scaled, because a kind that resembles ordinary work has a high
    limit and is exceeded by more. None before the first text that a model of purposes has read.
    State: a sum per kind and a count. Cost: O(kinds).
    Blind spots: kinds of query sets that no weights were learned for; kinds that ordinary batch work
    looks like, for which the limit is high; few such prompts among many.

    References
    ----------
    Mixtures as alternatives: D. Donoho and J. Jin (2004), Higher criticism for detecting sparse
    heterogeneous mixtures, Annals of Statistics 32(3). Capped loss per step: V. Vovk and R. Wang (2021),
    E-values: calibration, combination and applications, Annals of Statistics 49(3).

    Examples
    --------
    >>> from detectors.observation import Observation
    >>> read = bytes([60]) + bytes(23)  # log-odds 3 for the first kind
    >>> purpose = Purpose()
    >>> for number in range(48):
    ...     purpose.learn_one(Observation("a", "e", prompt=number, purpose=read))
    >>> round(purpose.score_one(), 2)
    1.42
    """

    __slots__ = ("_kinds", "_limits", "_state")

    spec = Spec(
        id="purpose",
        version=3,
        high="capability_elicitation",
        reads=("purpose",),
        unit="scaled excess of the mean log-likelihood ratio over what ordinary accounts stay below",
        grain=0.1,
        once=True,
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
        """Largest scaled excess over a limit, at least 0; None before the first text that was read."""
        if not self._n:
            return None
        return max(0.0, *map(_excess, self.means(), self._limits))

    def means(self) -> tuple[float, ...]:
        """Mean of each kind that has a limit, drawn towards 0 while there are few prompts."""
        *sums, n = _STATE.unpack(self._state)
        whole = _GRAINS * (n + _PRIOR)
        return tuple(total / whole for total in sums[: len(self._limits)])

    @property
    def _n(self) -> int:
        return int(_STATE.unpack(self._state)[-1])

    def learn_one(self, seen: Observation) -> None:
        """Add a text that was read."""
        if seen.purpose == _NOT_READ:
            return
        *sums, n = _STATE.unpack(self._state)
        ratios = [_RATIO[one] for one in seen.purpose]
        self._state = _STATE.pack(*map(operator.add, sums, ratios), n + 1)

    def explain(self, score: float, typical: float) -> str:
        """One sentence with the numbers."""
        means = self.means()
        kind = max(range(len(means)), key=lambda at: _excess(means[at], self._limits[at]))
        name, _, source = (self._kinds[kind] if kind < len(self._kinds) else f"number {kind + 1}").partition(
            "/"
        )
        like = f", such as '{source}'" if source else ""
        return (
            f"{self._n} different prompts, some of which read like query sets of the kind '{name}'{like}: "
            f"mean log-likelihood ratio {means[kind]:.2f}, where ordinary accounts stay below "
            f"{self._limits[kind]:.2f}; scaled excess {score:.2f} (usually {typical:.2f})."
        )

    def snapshot(self) -> Plain:
        """The sums and the count."""
        return list(_STATE.unpack(self._state))

    def restore(self, state: Plain) -> None:
        """Replace the state by a snapshot's; raises `StateError`."""
        *sums, n = plain.fields(state, PURPOSES + 1, "purpose")
        n = plain.integer(n, 0, _MOST_TEXTS, "purpose.n")
        most = max(map(abs, _RATIO)) * n
        checked = [plain.integer(one, -most, most, "purpose.sums") for one in sums]
        self._state = _STATE.pack(*checked, n)
