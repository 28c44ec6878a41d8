"""What a source of prompts offers the composer, whether it writes them itself or reads them from files."""

import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

PERSON, TEMPLATED, BATCH, AGENT = "person", "templated", "batch", "agent"

CLASSES = (PERSON, TEMPLATED, BATCH, AGENT)
"""Benign account classes: people, customers with a template, jobs over a data set, coding agents."""

OVERT, PACED, COVERED, SHARDED = "overt", "paced", "covered", "sharded"

OTHER_ABUSE = "other_abuse"
"""Class of accounts that misuse a model otherwise; they pace like people and are labelled benign."""

MODES = (OVERT, PACED, COVERED, SHARDED)
"""How extraction behaves: at machine pace, like a person, amid cover traffic, spread over a campaign."""

PROBING = "parameter_probing"
"""The kind whose signal is in the parameters; covered or sharded it would give itself away by them."""


class Turn(NamedTuple):
    """What one exchange adds to a conversation.

    Attributes
    ----------
    text : str
        The new message.
    role : str
        Who sends it: `user`, or `tool` for what a tool answered.
    system : str or None
        System message of the conversation.
    params : mapping or None
        Request parameters that are part of the probing; None leaves them to the account.
    """

    text: str
    role: str = "user"
    system: str | None = None
    params: Mapping[str, Any] | None = None


class Text(Protocol):
    """The text of one account: call after call, what it writes next."""

    def conversation(self, turns: int) -> list[Turn]:
        """The next conversation: `turns` exchanges, at least 1."""
        ...


class PromptRun(Protocol):
    """Hands out text for the accounts of one run; nothing is left over from other runs."""

    def benign(self, account_class: str, exchanges: int, rng: random.Random) -> Text:
        """Text of one benign account.

        Parameters
        ----------
        account_class : str
            One of `CLASSES`.
        exchanges : int
            How many exchanges the account will have.
        rng : random.Random
            Its randomness, for this account alone.
        """
        ...

    def extraction(self, kind: str, exchanges: Sequence[int], rng: random.Random) -> list[Text]:
        """Text of the accounts of one campaign, which share out one set of prompts.

        Parameters
        ----------
        kind : str
            One of the source's kinds.
        exchanges : sequence of int
            How many extraction exchanges each account will have; one entry for an account on its own.
        rng : random.Random
            Randomness for this campaign alone.
        """
        ...


class PromptSource(Protocol):
    """Where prompts come from."""

    @property
    def classes(self) -> Collection[str]:
        """Benign classes it has text for, in a fixed order."""
        ...

    @property
    def kinds(self) -> Collection[str]:
        """Extraction kinds it has text for, in a fixed order."""
        ...

    def run(self) -> PromptRun:
        """Begin a run; the same requests with the same randomness give the same text."""
        ...
