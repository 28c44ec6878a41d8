"""Benchmark: an account sends test items, one after the other, as a sweep through a question set does."""

from detectors.base import Spec
from detectors.primitives.families import FamilyShares


class Benchmark(FamilyShares):
    """Share of different prompts with the phrases that stand in test items and around them.

    Notes
    -----
    Score: the share of the most telling family over what one ordinary account in 500 exceeds, >= 0.
    State: 5 bytes per family seen. Cost: one test for unmarked prompts.
    Blind spots: items without a frame of their own, such as plain word problems; frames in other
    languages. People who evaluate models send the same items, and so do some batch jobs.

    Examples
    --------
    >>> from detectors.observation import Observation
    >>> from detectors.observe.marks import MARKS
    >>> item = 1 << MARKS.index("benchmark_item")
    >>> benchmark = Benchmark()
    >>> for marks in (item, 0, item, item):
    ...     benchmark.learn_one(Observation("a", "e", chars=20, marks=marks))
    >>> round(benchmark.score_one(), 3)
    3.0
    """

    __slots__ = ()

    spec = Spec(
        id="benchmark",
        version=2,
        high="benchmark_sweep",
        reads=("marks",),
        unit="share of prompts over what one ordinary account in 500 exceeds",
        grain=1.0,
        once=True,
    )
    families = ("benchmark_item", "worked_solution")
