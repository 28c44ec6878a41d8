"""Template: one frame of words sent again and again with ever new content in it."""

from detectors.base import SHAPE_CAP, Plain, Spec
from detectors.errors import StateError
from detectors.observation import Observation
from detectors.primitives import plain
from detectors.primitives.bitmap import DistinctBitmap
from detectors.primitives.topk import TopHashes

_SLOTS = 8  # a frame used for more than one in eight exchanges is sure to be held
_BITS = 2048  # distinct prompts: at most 1,024 in a window, error below 2 %


class Template:
    """Share of the most used frame times the share of prompts that are new.

    A frame is the first four words, the last four words, or the first words of the lines, numbers
    masked. The system text is left out: one system text for all requests is how every product works.

    Notes
    -----
    Score: product of two shares, in [0, 1]. High only where one frame is used often *and* its
    content keeps changing; a loop that repeats one prompt scores low.
    State: 0.5 KiB at most. Cost: O(1).
    Blind spots: products fill templates, too, so alone this is weak evidence; a frame in the middle
    of the prompt; frames drawn from a large pool.

    Examples
    --------
    >>> template = Template()
    >>> for i in range(10):
    ...     template.learn_one(Observation("a", "e", prompt=100 + i, prefix=7, suffix=50 + i, chars=20))
    >>> round(template.score_one(), 2)
    1.0
    """

    __slots__ = ("_frames", "_n", "_prompts")

    spec = Spec(
        id="template",
        version=1,
        high="templated_harvest",
        low="coverage_seeking",
        reads=("prompt", "prefix", "suffix", "layout"),
        unit="share of the top frame times share of new prompts",
        cap=SHAPE_CAP,
    )

    def __init__(self) -> None:
        self._frames = (TopHashes(_SLOTS), TopHashes(_SLOTS), TopHashes(_SLOTS))
        self._prompts = DistinctBitmap(_BITS)
        self._n = 0

    def score_one(self) -> float | None:
        """Share of the top frame times slot novelty; None before two prompts."""
        if self._n < 2:
            return None
        return self._top() / self._n * self._novelty()

    def learn_one(self, seen: Observation) -> None:
        """Count the frames of an exchange that has text."""
        if not seen.prompt:
            return
        self._n += 1
        self._prompts.add(seen.prompt)
        prefixes, suffixes, layouts = self._frames
        prefixes.add(seen.prefix)
        suffixes.add(seen.suffix)
        layouts.add(seen.layout)

    def explain(self, score: float, typical: float) -> str:
        """One sentence with the numbers."""
        return (
            f"{self._top()} of {self._n} prompts share one frame of words and {self._novelty():.0%} of the "
            f"prompts are new (product {score:.2f}, usually {typical:.2f})."
        )

    def _top(self) -> int:
        return min(self._n, max(frames.most() for frames in self._frames))

    def _novelty(self) -> float:
        return min(1.0, self._prompts.distinct() / self._n) if self._n else 0.0

    def snapshot(self) -> Plain:
        """Prompts, the bitmap of their hashes, the frames."""
        return [self._n, self._prompts.snapshot(), *(frames.snapshot() for frames in self._frames)]

    def restore(self, state: Plain) -> None:
        """Replace the state by a snapshot's; raises `StateError`."""
        n, prompts, *saved = plain.fields(state, 5, "template")
        n = plain.integer(n, 0, plain.MOST_EVENTS, "template.n")
        bitmap = DistinctBitmap(_BITS)
        bitmap.restore(prompts)
        frames = (TopHashes(_SLOTS), TopHashes(_SLOTS), TopHashes(_SLOTS))
        for held, one in zip(frames, saved, strict=True):
            held.restore(one)
            if held.most() > n:
                raise StateError(f"template: a frame was used {held.most()} times in {n} prompts")
        self._n, self._prompts, self._frames = n, bitmap, frames
