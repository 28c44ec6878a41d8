"""What a detector is: the protocol, its specification, and the order of learning and scoring."""

import dataclasses
from typing import Any, Literal, Protocol

from detectors.observation import Observation

SHAPE_CAP = 2.0
"""Cap of signals that see the shape of text, not its purpose: every product's text looks strange to
some other product, so a single one of them must not weigh more than one chance in a hundred."""

Plain = Any  # None, bool, int, float, str, bytes, and lists and dicts of them: what msgpack carries

Kind = Literal[
    "coverage_seeking",
    "high_entropy",
    "templated_harvest",
    "capability_elicitation",
    "benchmark_sweep",
    "parameter_probing",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Spec:
    """What a detector is called and how its score is to be read.

    Parameters
    ----------
    id : str
        File name, signal name, metric label, test file.
    version : int
        Raised by whatever moves a score or changes the saved state.
    high : Kind
        Kind of alert when the score is unusually high.
    low : Kind or None
        Kind of alert when the score is unusually low; None for a one-sided detector.
    reads : tuple of str
        Fields of the observation it needs; absent ones make it abstain.
    unit : str
        Unit of the score, for people.
    cap : float
        Most surprise (-log10 p) this signal may bring. No reference of some thousand accounts can
        support a smaller p than one in a million; below 2 the signal only supports others.
    grain : float
        Smallest scale of the tail, in units of the score. Where the reference shows no spread at
        all, how far beyond it counts as e times rarer.
    once : bool
        Whether an exchange teaches it only if the account has not sent the prompt before. For what
        asks what prompts are about: sending one of them a thousand times says no more about that,
        and ordinary accounts that do would make any share of such prompts look ordinary.
    """

    id: str
    version: int
    high: Kind
    reads: tuple[str, ...]
    unit: str
    low: Kind | None = None
    cap: float = 6.0
    grain: float = 0.01
    once: bool = False

    @property
    def supporting(self) -> bool:
        """Whether the signal may strengthen a finding but never be one."""
        return self.cap < 2.0


class Detector(Protocol):
    """One statistic of one account, learned online.

    `score_one` never changes state; `learn_one` does. A score is raw: finite, unit stated, no
    threshold inside. None means "abstains" (warm-up, or a field the bus does not carry), which is
    not innocence. `snapshot` gives plain values with a fixed ceiling in bytes; `restore` takes them
    back and raises `StateError` on anything else.
    """

    spec: Spec

    def score_one(self) -> float | None:
        """Score of the account as learned so far."""

    def learn_one(self, seen: Observation) -> None:
        """Take one exchange into the statistic."""

    def explain(self, score: float, typical: float) -> str:
        """One plain sentence for a person on call: the value, what is typical, what it means."""

    def snapshot(self) -> Plain:
        """State as plain values."""

    def restore(self, state: Plain) -> None:
        """Replace the state by a snapshot's."""


def learn_then_score(detector: Detector, seen: Observation) -> float | None:
    """Take in one exchange, then score the account including it.

    A score describes the account up to and including its newest exchange, because the reference it
    is compared with (other accounts of the same age) is built the same way; nothing here predicts
    the next exchange, so there is no label to leak.
    """
    detector.learn_one(seen)
    return detector.score_one()
