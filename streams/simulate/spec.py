"""What traffic to compose: numbers of accounts, mixes, behaviour; all that is wrong is said at once."""

import dataclasses
import datetime as dt
import math
from collections.abc import Collection, Mapping

from streams.errors import Problem
from streams.simulate.source import (
    AGENT,
    BATCH,
    CLASSES,
    COVERED,
    MODES,
    OTHER_ABUSE,
    OVERT,
    PACED,
    PERSON,
    PROBING,
    SHARDED,
    TEMPLATED,
    PromptSource,
)

START = dt.datetime(2026, 3, 2, tzinfo=dt.UTC)
"""Default beginning: a Monday in the past, fixed, so that the same command writes the same bytes."""

# Mostly people, as in any customer base; machines have fewer accounts and more exchanges each.
CLASS_WEIGHTS: Mapping[str, float] = {
    PERSON: 0.70,
    TEMPLATED: 0.12,
    BATCH: 0.06,
    AGENT: 0.12,
    OTHER_ABUSE: 0.03,
}
MODE_WEIGHTS: Mapping[str, float] = {OVERT: 0.25, PACED: 0.25, COVERED: 0.25, SHARDED: 0.25}

_MAX_ACCOUNTS = 1_000_000
_MAX_DAYS = 3650.0


class SpecError(ValueError):
    """A specification cannot be composed.

    Parameters
    ----------
    problems : list of Problem
        Everything that is wrong, each with key, value and fix.
    """

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        head = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{head} in the simulation:\n" + "\n".join(f"  {problem}" for problem in problems))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SimulationSpec:
    """What to compose.

    Parameters
    ----------
    accounts : int
        All accounts, benign and extracting. Count, 1 to 1,000,000.
    days : float
        Event time covered. Days, > 0.
    seed : int
        The same seed, prompts and specification give the same events.
    start : datetime
        Beginning of event time, with time zone.
    extraction_share : float
        Extracting accounts among all, 0..1.
    classes : mapping or None
        Weights of benign account classes; None takes `CLASS_WEIGHTS` as far as there is text.
    modes : mapping
        Weights of ways to extract, by accounts.
    kinds : tuple of str or None
        Extraction kinds, all alike often; None takes all there is text for.
    cover : float
        Share of a covered account's exchanges that are cover traffic, 0..0.99.
    shards : int
        Accounts per campaign of sharded extraction. Count, >= 2.
    linked : float
        Share of a campaign's accounts that pay with one card, 0..1; the others have cards of their own.
    exchanges : float
        Exchanges of a typical (median) person over the whole time; machines have a few times as many.
    spread : float
        Standard deviation of the logarithm of exchanges per account, 0..3.
    min_exchanges, max_exchanges : int
        Bounds on exchanges of any one account. Count.
    turnover : float
        Share of accounts that come late or leave early, 0..1.

    Raises
    ------
    SpecError
        With every problem, not only the first.
    """

    accounts: int = 1000
    days: float = 7.0
    seed: int = 1
    start: dt.datetime = START
    extraction_share: float = 0.05
    classes: Mapping[str, float] | None = None
    modes: Mapping[str, float] = dataclasses.field(default_factory=lambda: dict(MODE_WEIGHTS))
    kinds: tuple[str, ...] | None = None
    cover: float = 0.5
    shards: int = 20
    linked: float = 0.0
    exchanges: float = 60.0
    spread: float = 0.8
    min_exchanges: int = 8
    max_exchanges: int = 5000
    turnover: float = 0.3

    def __post_init__(self) -> None:
        problems = self._problems()
        if problems:
            raise SpecError(problems)

    @property
    def start_ms(self) -> int:
        """Beginning of event time, milliseconds since the Unix epoch."""
        return round(self.start.timestamp() * 1000)

    @property
    def span_ms(self) -> int:
        """Length of event time, milliseconds."""
        return round(self.days * 86_400_000)

    def _problems(self) -> list[Problem]:
        problems: list[Problem] = []

        def need(good: bool, key: str, must: str) -> None:
            if not good:
                problems.append(_problem(key, getattr(self, key), must))

        need(_count(self.accounts, 1, _MAX_ACCOUNTS), "accounts", f"a whole number from 1 to {_MAX_ACCOUNTS}")
        need(_number(self.days) and 0.001 <= self.days <= _MAX_DAYS, "days", f"0.001 to {_MAX_DAYS:g} days")
        need(isinstance(self.seed, int), "seed", "a whole number")
        need(
            isinstance(self.start, dt.datetime) and self.start.tzinfo is not None and self.start.year >= 1971,
            "start",
            "a time with offset after 1970, such as 2026-03-02T00:00:00Z",
        )
        need(_share(self.extraction_share), "extraction_share", "a share from 0 to 1, such as 0.05")
        need(_share(self.cover) and self.cover <= 0.99, "cover", "a share from 0 to 0.99, such as 0.5")
        need(_number(self.linked) and 0 <= self.linked <= 1, "linked", "0 to 1")
        need(_count(self.shards, 2, _MAX_ACCOUNTS), "shards", "at least 2 accounts per campaign")
        need(_number(self.exchanges) and self.exchanges >= 1, "exchanges", "at least 1 per account")
        need(_number(self.spread) and 0 <= self.spread <= 3, "spread", "from 0 to 3")
        need(_count(self.min_exchanges, 1, 10**7), "min_exchanges", "a whole number of at least 1")
        need(_count(self.max_exchanges, 1, 10**7), "max_exchanges", "a whole number of at least 1")
        if _count(self.min_exchanges, 1, 10**7) and _count(self.max_exchanges, 1, 10**7):
            need(
                self.min_exchanges <= self.max_exchanges,
                "max_exchanges",
                f"at least min_exchanges, {self.min_exchanges}",
            )
        need(_share(self.turnover), "turnover", "a share from 0 to 1")
        problems.extend(_check_weights("classes", self.classes, (*CLASSES, OTHER_ABUSE)))
        problems.extend(_check_weights("modes", self.modes, MODES))
        if self.kinds is not None and (not self.kinds or len(set(self.kinds)) < len(self.kinds)):
            problems.append(_problem("kinds", self.kinds, "different kinds, at least one, or None for all"))
        return problems

    def check_against(self, prompts: PromptSource) -> tuple[dict[str, float], tuple[str, ...]]:
        """Class weights and kinds to compose from the prompts at hand.

        Raises
        ------
        SpecError
            A class or kind is asked for that the prompts have no text for.
        """
        problems: list[Problem] = []
        have_classes, have_kinds = tuple(prompts.classes), tuple(prompts.kinds)
        benign = self.extraction_share < 1
        extracting = self.extraction_share > 0
        asked = CLASS_WEIGHTS if self.classes is None else self.classes
        weights = {name: asked[name] for name in (*CLASSES, OTHER_ABUSE) if asked.get(name, 0) > 0}
        if self.classes is None:
            weights = {name: weight for name, weight in weights.items() if name in have_classes}
        if benign:
            lacking = [name for name in weights if name not in have_classes]
            problems += [_without_prompts("classes", name, have_classes) for name in lacking]
        if benign and not weights:
            problems.append(_problem("extraction_share", self.extraction_share, "1: no benign prompts"))
        if extracting and self.modes.get(COVERED) and PERSON not in have_classes:
            problems.append(
                _problem("modes", COVERED, f"left out: there are no prompts of class {PERSON} for cover")
            )
        kinds = have_kinds if self.kinds is None else self.kinds
        if extracting:
            lacking = [kind for kind in self.kinds or () if kind not in have_kinds]
            problems += [_without_prompts("kinds", kind, have_kinds) for kind in lacking]
        if extracting and not have_kinds:
            problems.append(
                _problem("extraction_share", self.extraction_share, "0: there are no extraction prompts")
            )
        hidden = [mode for mode in (COVERED, SHARDED) if self.modes.get(mode)]
        if extracting and hidden and tuple(kinds) == (PROBING,):
            problems.append(
                _problem("modes", _list(hidden), f"{OVERT} or {PACED}: {PROBING} shows in the parameters")
            )
        if problems:
            raise SpecError(problems)
        return weights, tuple(kinds)


def _problem(key: str, value: object, must: str) -> Problem:
    return Problem(key, f"{value!r} cannot be used", f"Give {must}")


def _without_prompts(key: str, name: str, have: Collection[str]) -> Problem:
    return Problem(key, f"{name!r} has no prompts", f"Give some of: {_list(have)}")


def _list(names: Collection[str]) -> str:
    return ", ".join(names) or "none"


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _share(value: object) -> bool:
    return _number(value) and 0 <= value <= 1  # type: ignore[operator]


def _count(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _check_weights(key: str, weights: object, known: tuple[str, ...]) -> list[Problem]:
    if weights is None:
        return []
    if not isinstance(weights, Mapping):
        return [_problem(key, weights, f"weights of {_list(known)}")]
    problems = []
    for name, weight in weights.items():
        if name not in known:
            problems.append(_problem(f"{key}.{name}", weight, f"one of {_list(known)}"))
        elif not _number(weight) or weight < 0:
            problems.append(_problem(f"{key}.{name}", weight, "a number of at least 0"))
    if not problems and not any(weights.values()):
        problems.append(_problem(key, dict(weights), "at least one weight above 0"))
    return problems
