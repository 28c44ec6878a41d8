"""Traffic for a demonstration: days of event time in a minute, none of it in the future."""

import dataclasses
import datetime as dt
from collections.abc import Iterator
from typing import Any

from streams.errors import Problem
from streams.simulate.compose import Composition, Label, exchanges_for
from streams.simulate.source import PromptSource
from streams.simulate.spec import SimulationSpec, SpecError

LIVE = SimulationSpec(
    accounts=300,
    extraction_share=0.1,
    spread=0.25,
    min_exchanges=20,
    turnover=0.0,
    modes={"overt": 1.0, "paced": 1.0},
    kinds=("cot_elicitation", "parameter_probing"),
)
"""A population for a demonstration: accounts of similar size, all there from the beginning, and kinds of
extraction that one account can give away, so that most hidden ones do so within a minute."""


@dataclasses.dataclass(frozen=True)
class LiveStream:
    """Events with the time to wait before each.

    Event time runs faster than the clock on the wall: it begins `spec.days` in the past and gets to
    the present when the stream ends, so the pace within an account is plausible in event time and no
    event lies in the future.

    Attributes
    ----------
    composition : Composition
        The events without waits.
    wait_s : float
        Time between two events. Seconds.
    """

    composition: Composition
    wait_s: float

    @property
    def labels(self) -> list[Label]:
        """One per account."""
        return self.composition.labels

    def __len__(self) -> int:
        return len(self.composition)

    def __iter__(self) -> Iterator[tuple[float, dict[str, Any]]]:
        wait_s = self.wait_s
        for event in self.composition:
            yield wait_s, event


def live(
    prompts: PromptSource,
    *,
    now: dt.datetime,
    rate: float = 400.0,
    duration_s: float = 60.0,
    spec: SimulationSpec = LIVE,
) -> LiveStream:
    """A stream of about `rate` events per second for `duration_s`.

    Parameters
    ----------
    prompts : PromptSource
        Where text comes from.
    now : datetime
        The present, with time zone; no event is later.
    rate : float
        Events per second on the wall clock, > 0.
    duration_s : float
        Length on the wall clock. Seconds, > 0. A longer stream reaches further into the past, so
        that the pace in event time stays the same.
    spec : SimulationSpec
        Population. Its `start` and `exchanges` are replaced, and `days` is the least that is covered.

    Raises
    ------
    SpecError
        Rate or duration is not above 0, or there are more accounts than events.
    """
    events = round(rate * duration_s)
    if not (rate > 0 and duration_s > 0 and events >= spec.accounts):
        problem = Problem(
            "rate",
            f"{rate!r} per second for {duration_s!r} s gives fewer events than there are accounts",
            f"Give more, or fewer accounts than {spec.accounts}",
        )
        raise SpecError([problem])
    per_account = events / spec.accounts
    # The pace of LIVE, about 80 exchanges per account in a week, whatever the number of events.
    days = max(spec.days, spec.days * per_account / 100)
    spec = dataclasses.replace(
        spec,
        start=now - dt.timedelta(days=days),
        days=days,
        min_exchanges=max(1, min(spec.min_exchanges, int(per_account / 2))),
        max_exchanges=max(spec.max_exchanges, int(per_account * 20)),
    )
    spec = dataclasses.replace(spec, exchanges=exchanges_for(spec, prompts, events))
    composition = Composition(spec, prompts)
    return LiveStream(composition, duration_s / len(composition))
