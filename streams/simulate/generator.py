"""The built-in source of prompts: grammars and word lists written for this project, nothing copied."""

import random
from collections.abc import Sequence

from streams.simulate import attacks
from streams.simulate.customers import AgentText, TemplatedText
from streams.simulate.people import PersonText
from streams.simulate.source import AGENT, BATCH, CLASSES, PERSON, TEMPLATED, Text


class BuiltinPrompts:
    """Prompts that need no files.

    Notes
    -----
    Tens of thousands of different prompts per class and kind; the built-in text shows a pipeline at
    work and tests it. It is no measure of detection quality: for that, compose from real prompts.
    """

    classes: tuple[str, ...] = CLASSES
    kinds: tuple[str, ...] = attacks.KINDS

    def run(self) -> "BuiltinPrompts":
        """A run; the generator keeps nothing between accounts, so every run is alike."""
        return self

    def benign(self, account_class: str, exchanges: int, rng: random.Random) -> Text:
        """Text of one benign account."""
        del exchanges  # the generator never runs dry
        if account_class == PERSON:
            return PersonText(rng)
        if account_class in (TEMPLATED, BATCH):
            return TemplatedText(rng, "app_template" if account_class == TEMPLATED else "batch_template")
        if account_class == AGENT:
            return AgentText(rng)
        raise ValueError(f"account class {account_class!r} is unknown; use one of {', '.join(CLASSES)}")

    def extraction(self, kind: str, exchanges: Sequence[int], rng: random.Random) -> list[Text]:
        """Text of the accounts of one campaign."""
        if kind not in attacks.KINDS:
            raise ValueError(f"extraction kind {kind!r} is unknown; use one of {', '.join(attacks.KINDS)}")
        return attacks.campaign(kind, len(exchanges), rng)
