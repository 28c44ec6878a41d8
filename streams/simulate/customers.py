"""Text of firms: one template with changing slots, jobs over one data set, and coding agents."""

import functools
import random
import re

from streams.simulate.grammar import Draw, Grammar, grammar, pick
from streams.simulate.source import Turn

_MARK = re.compile(r"<<(\w+)>>")
_SYSTEM_ENDS = "§"


class Template:
    """A fixed text with slots, as a program has it; what stands before `§` is the system message.

    Parameters
    ----------
    text : str
        The text; `<<name>>` is a slot.
    """

    def __init__(self, text: str) -> None:
        system, found, user = text.partition(_SYSTEM_ENDS)
        self.system = system.strip() or None if found else None
        # Alternating: literal, slot name, literal, ..., literal.
        self.pieces = _MARK.split(user if found else text)

    def fill(self, rules: Grammar, draw: Draw) -> str:
        """The user message with its slots filled anew."""
        filled = list(self.pieces)
        for at in range(1, len(filled), 2):
            filled[at] = rules.say(filled[at], draw)
        return "".join(filled)


@functools.cache
def _customers() -> Grammar:
    return grammar("common", "customers")


@functools.cache
def _coding() -> Grammar:
    return grammar("common", "coding")


class TemplatedText:
    """One template, filled anew for each exchange.

    Parameters
    ----------
    rng : random.Random
        The account's own randomness.
    rule : str
        `app_template` for an application, `batch_template` for a job over a data set.
    """

    def __init__(self, rng: random.Random, rule: str) -> None:
        self._draw = rng.random
        self._rules = _customers()
        self._template = Template(self._rules.say(rule, self._draw))
        # Real inputs come twice: retries, and the same record in the data set again.
        self._repeats = pick((0.0, 0.0, 0.01, 0.05), self._draw)
        self._last = ""

    def conversation(self, turns: int) -> list[Turn]:
        """The next exchanges; each is the template again."""
        return [self._turn() for _ in range(turns)]

    def _turn(self) -> Turn:
        if not self._last or self._draw() >= self._repeats:
            self._last = self._template.fill(self._rules, self._draw)
        return Turn(self._last, "user", self._template.system)


class AgentText:
    """A coding agent: a task, then what its tools answer; some accounts are a developer who types as well.

    Parameters
    ----------
    rng : random.Random
        The account's own randomness.
    """

    def __init__(self, rng: random.Random) -> None:
        draw = self._draw = rng.random
        rules = _coding()
        self._repo = rules.say("repo", draw)
        self._system = rules.say("agent_system", draw, {"repo": self._repo}) if draw() < 0.7 else None
        self._typed = pick((0.0, 0.05, 0.3, 0.9), draw)
        self._length = pick((2, 4, 6, 10), draw)
        # An agent stays within a few files and names.
        self._names = [rules.say("noun", draw) for _ in range(2 + int(draw() * 6))]

    def conversation(self, turns: int) -> list[Turn]:
        """The next session: a task, then observations."""
        draw, rules = self._draw, _coding()
        bound = {"repo": self._repo, "noun": pick(self._names, draw)}
        said = [Turn(rules.say("task", draw, dict(bound)), "user", self._system)]
        for _ in range(turns - 1):
            if draw() < self._typed:
                said.append(Turn(rules.say("developer", draw, dict(bound)), "user", self._system))
            else:
                said.append(Turn(self._observed(bound["noun"]), "tool", self._system))
        return said

    def _observed(self, noun: str) -> str:
        draw, rules = self._draw, _coding()
        seen = []
        for _ in range(1 + int(draw() * self._length)):
            # Now and then another name turns up.
            near = {"repo": self._repo} if draw() < 0.6 else {"repo": self._repo, "noun": noun}
            seen.append(rules.say("observation", draw, near))
        return "\n".join(seen)
