"""What detectors of families of phrases have in common: the share of prompts with phrases of each family."""

from typing import ClassVar

from detectors.base import Plain, Spec
from detectors.observation import Observation
from detectors.observe.marks import MARKS
from detectors.primitives.shares import MarkShares, checked_ceilings


class FamilyShares:
    """Largest share of prompts with phrases of one family, over what hardly any ordinary account exceeds.

    Subclasses give `spec` and `families`, names in `observe.marks.MARKS`.

    Parameters
    ----------
    ceilings : tuple of float, optional
        Per family, the share of prompts that one ordinary account in 500 exceeds. In (0, 1];
        0.05 without a profile.
    """

    __slots__ = ("_ceilings", "_shares")

    spec: Spec
    families: ClassVar[tuple[str, ...]]
    _bits: ClassVar[tuple[int, ...]]
    _mask: ClassVar[int]

    def __init_subclass__(cls) -> None:
        cls._bits = tuple(1 << MARKS.index(family) for family in cls.families)
        cls._mask = sum(cls._bits)

    def __init__(self, *, ceilings: tuple[float, ...] | None = None) -> None:
        count = len(self.families)
        self._ceilings = checked_ceilings(ceilings or (0.05,) * count, count, self.spec.id)
        self._shares = MarkShares(self._ceilings)

    def score_one(self) -> float | None:
        """Largest share over its ceiling; None before the first prompt."""
        return self._shares.largest() if self._shares.n else None

    def learn_one(self, seen: Observation) -> None:
        """Count the families of an exchange that has text."""
        if seen.chars:
            marks = seen.marks & self._mask
            self._shares.update(self._places(marks) if marks else 0)

    def explain(self, score: float, typical: float) -> str:
        """One sentence with the numbers."""
        found = self._shares.relative()[:3]
        if not found:
            return f"None of {self._shares.n} different prompts has a phrase of these families."
        parts = [f"'{self.families[family]}' in {count}" for _, family, count in found]
        return (
            f"Of {self._shares.n} different prompts, phrases of the families {', '.join(parts)}: {score:.1f} "
            f"times the share that one ordinary account in 500 exceeds (usually {typical:.1f} times)."
        )

    @property
    def n(self) -> int:
        """Exchanges counted."""
        return self._shares.n

    def shares(self) -> tuple[float, ...]:
        """Share of prompts with each family, for fitting ceilings."""
        return self._shares.shares()

    def _places(self, marks: int) -> int:
        """Bits by place in `families` of bits by place in `MARKS`."""
        return sum(1 << place for place, bit in enumerate(self._bits) if marks & bit)

    def snapshot(self) -> Plain:
        """The shares."""
        return self._shares.snapshot()

    def restore(self, state: Plain) -> None:
        """Replace the state by a snapshot's; raises `StateError`."""
        fresh = MarkShares(self._ceilings)
        fresh.restore(state)
        self._shares = fresh
