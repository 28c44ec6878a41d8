"""Accounts that send a few prompts over and over: monitoring, evaluation harnesses, stuck clients."""

import random
from collections.abc import Collection, Sequence

from streams.simulate.source import PromptRun, PromptSource, Text, Turn


class Repeating:
    """A source whose benign accounts repeat a few of its prompts in order.

    Parameters
    ----------
    source : PromptSource
        Where the prompts come from.
    items : sequence of int
        How many different prompts an account has; each account draws one of these. At least 1 each.
    """

    def __init__(self, source: PromptSource, items: Sequence[int]) -> None:
        self._source = source
        self._items = tuple(items)

    @property
    def classes(self) -> Collection[str]:
        """Those of the source."""
        return self._source.classes

    @property
    def kinds(self) -> Collection[str]:
        """None: extraction that repeats itself extracts nothing."""
        return ()

    def run(self) -> PromptRun:
        """A run of the source, repeated."""
        return _RepeatingRun(self._source.run(), self._items)


class _RepeatingRun:
    def __init__(self, run: PromptRun, items: tuple[int, ...]) -> None:
        self._run = run
        self._items = items

    def benign(self, account_class: str, exchanges: int, rng: random.Random) -> Text:
        items = min(rng.choice(self._items), exchanges)
        return _Cycle(self._run.benign(account_class, items, rng).conversation(items))

    def extraction(self, kind: str, exchanges: Sequence[int], rng: random.Random) -> list[Text]:
        raise ValueError(f"{kind!r}: accounts that repeat themselves do not extract")


class _Cycle:
    def __init__(self, turns: list[Turn]) -> None:
        self._turns = turns
        self._at = 0

    def conversation(self, turns: int) -> list[Turn]:
        said = [self._turns[(self._at + number) % len(self._turns)] for number in range(turns)]
        self._at += turns
        return said
