"""Vocabulary: an account's stock of words grows faster, or slower, than its amount of text explains."""

import math
import struct

from detectors.base import SHAPE_CAP, Plain, Spec
from detectors.errors import StateError
from detectors.observation import VOCABULARY_SAMPLE, Observation
from detectors.primitives import plain
from detectors.primitives.bitmap import DistinctBitmap

_BITS = 4096  # of one word in eight, 1,024 exchanges bring some 4,000: one per bit, error below 2 %
_EXPONENT = 0.6  # Heaps' law: 0.4 to 0.8 in the literature; 0.62 on 780 reference accounts
_words = struct.Struct(f"<{VOCABULARY_SAMPLE}H").unpack


class Vocabulary:
    """Distinct words against words read, on a consistent sample of words.

    Notes
    -----
    Score: ln(distinct) - 0.6 ln(sampled), so that an account with longer prompts is not taken for
    one with a richer vocabulary (Heaps' law [1]_). High: words are seldom repeated, as in surveys and
    random-word queries. Low: the same few words again and again, as in templates.
    State: 0.5 KiB at most. Cost: one pass over the 16 words of the sample.
    Blind spots: a mix of languages looks like a rich vocabulary; numbers and identifiers count as words.

    References
    ----------
    .. [1] H. S. Heaps (1978), Information Retrieval: Computational and Theoretical Aspects.
    """

    __slots__ = ("_bitmap", "_sampled")

    spec = Spec(
        id="vocabulary",
        version=2,
        high="coverage_seeking",
        low="templated_harvest",
        reads=("vocabulary",),
        unit="log distinct words beyond Heaps' law",
        cap=SHAPE_CAP,
    )

    def __init__(self) -> None:
        self._bitmap = DistinctBitmap(_BITS)
        self._sampled = 0

    def score_one(self) -> float | None:
        """Logarithm of distinct words over the 0.6th power of the words sampled; None below 8 words."""
        if self._sampled < 8:
            return None
        return math.log(max(self._bitmap.distinct(), 1.0)) - _EXPONENT * math.log(self._sampled)

    def learn_one(self, seen: Observation) -> None:
        """Add the exchange's sample of words."""
        words = _words(seen.vocabulary)
        if words[0]:
            self._bitmap.add_all(words)
            self._sampled += VOCABULARY_SAMPLE - words.count(0)

    def explain(self, score: float, typical: float) -> str:
        """One sentence with the numbers."""
        ratio = math.exp(score - typical)
        side = "more" if ratio >= 1 else "fewer"
        return (
            f"{ratio:.2f} times as many different words as usual for as much text: "
            f"{side} than people and products of this age use."
        )

    def snapshot(self) -> Plain:
        """Words sampled and the bitmap."""
        return [self._sampled, self._bitmap.snapshot()]

    def restore(self, state: Plain) -> None:
        """Replace the state by a snapshot's; raises `StateError`."""
        sampled, bitmap = plain.fields(state, 2, "vocabulary")
        sampled = plain.integer(sampled, 0, plain.MOST_EVENTS, "vocabulary.sampled")
        fresh = DistinctBitmap(_BITS)
        fresh.restore(bitmap)
        if fresh.marked() > sampled:
            raise StateError(f"vocabulary: {fresh.marked()} words of {sampled} sampled")
        self._sampled, self._bitmap = sampled, fresh
