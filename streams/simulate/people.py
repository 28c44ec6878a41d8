"""Text of ordinary people: a few subjects each, a manner of writing, follow-ups, and a language."""

import functools
import random
from collections.abc import Mapping, Sequence

from streams.simulate.grammar import Draw, Grammar, grammar, pick, tables
from streams.simulate.source import Turn

_CODE_TOPICS = frozenset({"python", "webdev", "databases", "sysadmin"})
_GIVEN = frozenset({"thing", "thing2", "issue", "goal"})
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"


@functools.cache
def _grammar() -> Grammar:
    return grammar("common", "people", given=_GIVEN)


@functools.cache
def _foreign(language: str) -> Grammar:
    return Grammar({**tables("common")["rules"], **tables("people")["foreign"][language]})


class PersonText:
    """What one person writes.

    Parameters
    ----------
    rng : random.Random
        The person's own randomness.
    """

    def __init__(self, rng: random.Random) -> None:
        draw = self._draw = rng.random
        topics = tables("topics")["topic"]
        # Half of all people come back with one or two subjects: narrow interests are ordinary.
        count = pick((1, 1, 2, 2, 3, 4, 6), draw)
        names = rng.sample(sorted(topics), count)
        self._topics = [topics[name] for name in names]
        self._codes = [name in _CODE_TOPICS for name in names]
        languages = sorted(tables("people")["foreign"])
        self._language = pick(languages, draw) if draw() < 0.16 else None
        self._foreign_share = 0.0 if self._language is None else pick((0.2, 0.7, 1.0, 1.0), draw)
        self._chitchat = pick((0.0, 0.02, 0.05, 0.25), draw)
        self._resends = pick((0.0, 0.0, 0.01, 0.04), draw)
        self._long = pick((0.02, 0.1, 0.2, 0.4, 0.8), draw)
        self._lower = draw() < 0.35
        self._no_stop = draw() < 0.3
        self._typos = pick((0.0, 0.0, 0.05, 0.2, 0.5), draw)
        self._greets = pick((0.0, 0.0, 0.1, 0.6), draw)
        self._thanks = pick((0.0, 0.0, 0.1, 0.5), draw)
        self._system = _grammar().say("role", draw) if draw() < 0.08 else None
        self._last = ""

    def conversation(self, turns: int) -> list[Turn]:
        """The next conversation: an opening question and follow-ups on the same subject."""
        draw = self._draw
        which = int(draw() * len(self._topics))
        if self._language is not None and draw() < self._foreign_share:
            said = [_foreign(self._language).say("frame", draw) for _ in range(turns)]
        else:
            said = self._talk(self._topics[which], self._codes[which], turns)
        system = None if self._system is None else f"You are {self._system}."
        written = [Turn(self._written(text, first=not i), "user", system) for i, text in enumerate(said)]
        if draw() < self._resends and self._last:
            written[0] = Turn(self._last, "user", system)
        self._last = written[-1].text
        return written

    def _talk(self, topic: Mapping[str, Sequence[str]], code: bool, turns: int) -> list[str]:
        draw, rules = self._draw, _grammar()
        chats = draw() < self._chitchat
        things, issues, goals = topic["things"], topic["issues"], topic["goals"]
        thing, issue, goal = pick(things, draw), pick(issues, draw), pick(goals, draw)
        said = []
        for turn in range(turns):
            bound = {"thing": thing, "thing2": pick(things, draw), "issue": issue, "goal": goal}
            if chats:
                rule = "chitchat"
            elif not turn:
                rule = "ask_code" if code and draw() < 0.45 else "ask_long" if draw() < self._long else "ask"
            elif draw() < 0.25:
                rule = "ask_long" if draw() < self._long else "ask"
            else:
                rule = "follow_code" if code and draw() < 0.4 else "follow"
            said.append(rules.say(rule, draw, bound))
            # The talk drifts: what is asked about changes, the subject stays.
            issue, goal = pick(issues, draw), pick(goals, draw)
            if draw() < 0.3:
                thing = bound["thing2"]
        return said

    def _written(self, text: str, *, first: bool) -> str:
        draw, rules = self._draw, _grammar()
        head, newline, rest = text.partition("\n")
        if self._lower:
            head = head.lower()
        if self._no_stop:
            head = head.rstrip(".?!")
        if self._typos and draw() < self._typos:
            head = misspell(head, 1 + int(draw() * 3), draw)
        if first and draw() < self._greets:
            head = rules.say("opener", draw) + " " + head
        text = head + newline + rest
        if draw() < self._thanks:
            text += pick((" ", ", ", "\n", ". "), draw) + rules.say("closer", draw)
        return text or "?"


def misspell(text: str, times: int, draw: Draw) -> str:
    """Text with letters swapped, lost, doubled or wrong, as fast fingers leave them."""
    for _ in range(times):
        if len(text) < 4:
            break
        at = 1 + int(draw() * (len(text) - 2))
        what = draw()
        if what < 0.4:
            text = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
        elif what < 0.65:
            text = text[:at] + text[at + 1 :]
        elif what < 0.85:
            text = text[:at] + text[at] + text[at:]
        else:
            text = text[:at] + pick(_ALPHABET, draw) + text[at + 1 :]
    return text
