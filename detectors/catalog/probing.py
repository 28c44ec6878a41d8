"""Probing: request parameters and repeats that read out the model's probabilities instead of its answers."""

import struct
from array import array

from detectors.base import Plain, Spec
from detectors.errors import StateError
from detectors.observation import FLAG_LOGIT_BIAS, FLAG_LOGPROBS, Observation
from detectors.primitives import plain
from detectors.primitives.shares import MarkShares, checked_ceilings

FACETS = (
    "log-probabilities asked for",
    "tokens biased",
    "other tokens biased than before",
    "at most one token of output",
    "several choices per prompt",
    "prompt repeated",
    "prompt repeated with other sampling",
    "temperature changed between requests",
)
"""What a request may show; the bit of a facet is its place here."""

DEFAULT_CEILINGS = (0.5, 0.05, 0.05, 0.1, 0.2, 0.5, 0.1, 0.5)
"""Assumptions for use without a profile."""

_LOGPROBS, _BIAS, _BIAS_SWEEP, _ONE_TOKEN, _CHOICES, _REPEAT, _RESAMPLED, _TEMPERATURE = (
    1 << place for place in range(len(FACETS))
)
_RECENT = 16  # prompts remembered for repeats


class Probing:
    """Share of requests that read out probabilities, against the share of them in ordinary use.

    Parameters
    ----------
    ceilings : tuple of float, optional
        Share of exchanges with each of `FACETS`, in that order, that one ordinary account in 500 exceeds.
        In (0, 1].

    Notes
    -----
    Facets: log-probabilities, biased tokens and sweeps through them, and one-token outputs read out
    the last layer [1]_, [2]_; several choices, repeats and changed sampling read out distributions.
    Score: the share of the most telling facet over what one ordinary account in 500 exceeds, >= 0.
    A bus that carries no parameters leaves the repeats.
    State: 5 bytes per facet seen and 16 prompts with their sampling, 0.3 KiB. Cost: O(16).
    Blind spots: probing spread over many accounts; products that always ask for log-probabilities
    look alike, which is why the reference contains such accounts.

    References
    ----------
    .. [1] N. Carlini et al. (2024), Stealing Part of a Production Language Model, arXiv 2403.06634.
    .. [2] M. Finlayson et al. (2024), Logits of API-Protected LLMs Leak Proprietary Information,
       arXiv 2403.09539.

    Examples
    --------
    >>> probing = Probing()
    >>> for i in range(8):
    ...     probing.learn_one(Observation("a", "e", prompt=5, flags=2, logit_bias=i + 1, max_tokens=1))
    >>> round(probing.score_one(), 3)
    6.667
    """

    __slots__ = ("_bias", "_ceilings", "_recent", "_sampled", "_shares", "_temperature", "_usable")

    spec = Spec(
        id="probing",
        version=1,
        high="parameter_probing",
        reads=("prompt", "flags", "logit_bias", "max_tokens", "choices", "temperature", "top_p"),
        unit="share of exchanges over what one ordinary account in 500 exceeds",
        grain=1.0,
    )

    def __init__(self, *, ceilings: tuple[float, ...] | None = None) -> None:
        self._ceilings = checked_ceilings(ceilings or DEFAULT_CEILINGS, len(FACETS), self.spec.id)
        self._shares = MarkShares(self._ceilings)
        # Prompts, oldest first, and their sampling: arrays, because a dict takes two kilobytes.
        self._recent, self._sampled = array("I"), array("I")
        self._temperature = self._bias = 0  # of the previous request; 0 is absent
        self._usable = False

    def score_one(self) -> float | None:
        """Largest share over its ceiling; None while no exchange had text or parameters."""
        return self._shares.largest() if self._usable else None

    def learn_one(self, seen: Observation) -> None:
        """Count the facets of one exchange."""
        facets = self._facets(seen)
        if facets or seen.prompt:
            self._usable = True
        self._shares.update(facets)

    def _facets(self, seen: Observation) -> int:
        facets = 0
        flags, choices, temperature = seen.flags, seen.choices, seen.temperature
        if flags & FLAG_LOGPROBS or seen.top_logprobs > 0:
            facets = _LOGPROBS
        if flags & FLAG_LOGIT_BIAS:
            facets |= _BIAS
            if self._bias and seen.logit_bias != self._bias:
                facets |= _BIAS_SWEEP
            self._bias = seen.logit_bias
        if 0 <= seen.max_tokens <= 1:
            facets |= _ONE_TOKEN
        if choices > 1:
            facets |= _CHOICES
        # In thousandths and shifted, so that 0 stays "absent"; the comparison is false for NaN.
        heat = int(temperature * 1000) + 1 if 0.0 <= temperature <= 65.0 else 0
        if heat:
            if self._temperature and heat != self._temperature:
                facets |= _TEMPERATURE
            self._temperature = heat
        prompt = seen.prompt & 0xFFFFFFFF  # enough to tell 16 prompts apart
        if prompt:
            sampling = (heat ^ (choices << 20) ^ (seen.logit_bias << 1)) & 0xFFFFFFFF
            recent, sampled = self._recent, self._sampled
            if prompt in recent:
                place = recent.index(prompt)
                facets |= _REPEAT if sampled[place] == sampling else _REPEAT | _RESAMPLED
                del recent[place], sampled[place]
            elif len(recent) >= _RECENT:
                del recent[0], sampled[0]
            recent.append(prompt)
            sampled.append(sampling)
        return facets

    @property
    def n(self) -> int:
        """Exchanges counted."""
        return self._shares.n

    def shares(self) -> tuple[float, ...]:
        """Share of exchanges with each of `FACETS`, for fitting ceilings."""
        return self._shares.shares()

    def explain(self, score: float, typical: float) -> str:
        """One sentence with the numbers."""
        found = self._shares.relative()
        if not found:
            return f"None of {self._shares.n} requests has a probing parameter or is a repeat."
        parts = [f"{FACETS[facet]} in {hits}" for _, facet, hits in found[:3]]
        return (
            f"Of {self._shares.n} requests: {', '.join(parts)}; {score:.1f} times the share that one "
            f"ordinary account in 500 exceeds (usually {typical:.1f} times)."
        )

    def snapshot(self) -> Plain:
        """Previous request, recent prompts, shares."""
        pairs = zip(self._recent, self._sampled, strict=True)
        recent = b"".join(struct.pack("<II", *pair) for pair in pairs)
        return [self._usable, self._temperature, self._bias, recent, self._shares.snapshot()]

    def restore(self, state: Plain) -> None:
        """Replace the state by a snapshot's; raises `StateError`."""
        usable, temperature, bias, recent, shares = plain.fields(state, 5, "probing")
        if type(usable) is not bool:
            raise StateError("probing: saved value `usable` must be true or false")
        temperature = plain.integer(temperature, 0, 0x10000, "probing.temperature")
        bias = plain.integer(bias, 0, (1 << 64) - 1, "probing.bias")
        packed = plain.raw(recent, 8 * _RECENT, "probing.recent", multiple_of=8)
        numbers = array("I", struct.unpack(f"<{len(packed) // 4}I", packed))
        prompts, sampled = numbers[::2], numbers[1::2]
        if 0 in prompts or len(set(prompts)) < len(prompts):
            raise StateError("probing: saved prompts repeat or are empty")
        fresh = MarkShares(self._ceilings)
        fresh.restore(shares)
        self._usable, self._temperature, self._bias = usable, temperature, bias
        self._recent, self._sampled, self._shares = prompts, sampled, fresh
