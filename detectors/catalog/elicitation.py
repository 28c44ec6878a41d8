"""Elicitation: phrases that draw out training material stand in far more prompts than in ordinary use."""

from detectors.base import Spec
from detectors.primitives.families import FamilyShares


class Elicitation(FamilyShares):
    """Share of different prompts that ask for reasoning, judgement or new tasks: as distillation sets do.

    Notes
    -----
    Score: the share of the most telling family over what one ordinary account in 500 exceeds, >= 0.
    State: 5 bytes per family seen. Cost: one test for unmarked prompts.
    Blind spots: phrases that are not in `observe/marks.json`, other languages among them; a few
    marked prompts among many; a campaign that begins late in a window is diluted until the next.

    Examples
    --------
    >>> from detectors.observation import Observation
    >>> from detectors.observe.marks import MARKS
    >>> graded = 1 << MARKS.index("grading")
    >>> elicitation = Elicitation()
    >>> for marks in (graded, 0, graded, graded):
    ...     elicitation.learn_one(Observation("a", "e", chars=20, marks=marks))
    >>> round(elicitation.score_one(), 3)
    3.0
    """

    __slots__ = ()

    spec = Spec(
        id="elicitation",
        version=2,
        high="capability_elicitation",
        reads=("marks",),
        unit="share of prompts over what one ordinary account in 500 exceeds",
        grain=1.0,
        once=True,
    )
    families = (
        "step_by_step",
        "reasoning_trace",
        "grading",
        "instruction_minting",
        "rewriting",
        "censorship_rewrite",
        "tool_trajectory",
        "enumeration",
    )
