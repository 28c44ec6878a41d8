"""Text of accounts that harvest answers: a script's frame around the items of a set, or a sweep.

An account, or a campaign, has one set and mostly one frame, as a script would; frames come in very
many wordings, so that no list of known phrases finds them all.
"""

import functools
import random
from collections.abc import Callable, Mapping
from typing import Any

from streams.simulate.customers import Template
from streams.simulate.grammar import Draw, Grammar, grammar, pick, tables
from streams.simulate.source import PROBING, Text, Turn

_SETS = ("story", "contest", "logic", "programming", "choice", "reading")
_REASONING_SETS = ("story", "story", "contest", "contest", "logic", "programming", "choice")
_MARKS = (",", ".", "?", "'s", " -", ":", ",", ".")
_SYLLABLES = ("ka", "lor", "mi", "ven", "tas", "qu", "bre", "od", "ix", "shu", "pel", "an", "ruk", "ze", "gh")


@functools.cache
def _rules() -> Grammar:
    return grammar("common", "problems", "attacks")


@functools.cache
def _vocabulary() -> tuple[str, ...]:
    words: set[str] = set()
    for name in ("common", "topics", "people", "customers", "problems", "attacks"):
        words.update(_words(tables(name)))
    return tuple(sorted(words))


def _words(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set().union(*(_words(inner) for inner in value.values()))
    return {word for text in value for word in text.lower().split() if word.isalpha() and word.isascii()}


class FramedItems:
    """Items of one or several sets in a fixed frame.

    Parameters
    ----------
    frame : str
        Text with slots; the slot `item` takes from `sets`, others are rules.
    sets : tuple of str
        Rules the items come from.
    rng : random.Random
        The account's own randomness.
    """

    def __init__(self, frame: str, sets: tuple[str, ...], rng: random.Random) -> None:
        self._template = Template(frame)
        self._sets = sets
        self._draw = rng.random

    def conversation(self, turns: int) -> list[Turn]:
        """The next items, one per exchange; they do not build on each other."""
        return [self._turn() for _ in range(turns)]

    def _turn(self) -> Turn:
        draw, rules = self._draw, _rules()
        filled = list(self._template.pieces)
        for at in range(1, len(filled), 2):
            name = filled[at]
            filled[at] = rules.say(pick(self._sets, draw) if name == "item" else name, draw)
        return Turn("".join(filled), "user", self._template.system)


class Salad:
    """Words at random, or what is not even words.

    Parameters
    ----------
    frame : str
        Text with the slots `salad` and `salad_short`.
    style : str
        `words`, `syllables` or `bytes`.
    length : int
        Typical number of words.
    rng : random.Random
        The account's own randomness.
    """

    def __init__(self, frame: str, style: str, length: int, rng: random.Random) -> None:
        self._template = Template(frame)
        self._style = style
        self._length = length
        self._rng = rng

    def conversation(self, turns: int) -> list[Turn]:
        """The next prompts."""
        return [self._turn() for _ in range(turns)]

    def _turn(self) -> Turn:
        filled = list(self._template.pieces)
        for at in range(1, len(filled), 2):
            mean = self._length if filled[at] == "salad" else 8
            filled[at] = self._salad(max(3, int(mean * (0.5 + self._rng.random()))))
        return Turn("".join(filled), "user", self._template.system)

    def _salad(self, length: int) -> str:
        rng = self._rng
        if self._style == "words":
            words = rng.choices(_vocabulary(), k=length)
            for _ in range(length // 9):
                words[int(rng.random() * length)] += pick(_MARKS, rng.random)
            return " ".join(words)
        if self._style == "syllables":
            parts = rng.choices(_SYLLABLES, k=3 * length)
            return " ".join("".join(parts[at : at + 1 + at % 3]) for at in range(0, 3 * length, 3))
        return " ".join(f"{rng.getrandbits(24):x}" for _ in range(length))


class Probe:
    """Few short prompts again and again while one parameter is swept.

    Parameters
    ----------
    sweep : str
        What is swept: `logit_bias`, `temperature`, `repeats` or `top_p`.
    prompts : list of str
        The prompts.
    rng : random.Random
        The account's own randomness.
    """

    def __init__(self, sweep: str, prompts: list[str], rng: random.Random) -> None:
        self._sweep = sweep
        self._prompts = prompts
        self._rng = rng
        self._step = 0
        self._token = rng.randrange(1000, 90_000)

    def conversation(self, turns: int) -> list[Turn]:
        """The next steps of the sweep."""
        return [self._turn() for _ in range(turns)]

    def _turn(self) -> Turn:
        step = self._step
        self._step += 1
        prompt = self._prompts[step // 24 % len(self._prompts)]
        return Turn(prompt, "user", None, self._params(step))

    def _params(self, step: int) -> Mapping[str, Any]:
        match self._sweep:
            case "logit_bias":
                tokens = range(self._token + 5 * step, self._token + 5 * step + 5)
                return {
                    "max_tokens": 1,
                    "temperature": 0.0,
                    "logprobs": True,
                    "top_logprobs": 5,
                    "logit_bias": {str(token): 100 for token in tokens},
                }
            case "temperature":
                return {"temperature": step % 21 / 10, "logprobs": True, "top_logprobs": 20, "max_tokens": 16}
            case "top_p":
                return {"top_p": (1 + step % 20) / 20, "temperature": 1.0, "seed": step % 7, "max_tokens": 8}
            case _:
                return {"n": 8, "temperature": 1.0, "seed": step, "max_tokens": 32, "logprobs": True}


def _cot(draw: Draw) -> Callable[[random.Random], Text]:
    frame, sets = _rules().say("cot_frame", draw, {}), (pick(_REASONING_SETS, draw),)
    return lambda rng: FramedItems(frame, sets, rng)


def _sweep(draw: Draw) -> Callable[[random.Random], Text]:
    frame = _rules().say("sweep_frame", draw, {})
    sets = (pick(_SETS, draw),) if draw() < 0.7 else _SETS
    return lambda rng: FramedItems(frame, sets, rng)


def _rubric(draw: Draw) -> Callable[[random.Random], Text]:
    frame = _rules().say("rubric_frame", draw, {})
    return lambda rng: FramedItems(frame, (), rng)


def _instruct(draw: Draw) -> Callable[[random.Random], Text]:
    frame = _rules().say("instruction_frame" if draw() < 0.6 else "mint_frame", draw, {})
    return lambda rng: FramedItems(frame, (), rng)


def _capability(draw: Draw) -> Callable[[random.Random], Text]:
    frame = _rules().say("capability_frame", draw, {})
    return lambda rng: FramedItems(frame, (), rng)


def _nonsense(draw: Draw) -> Callable[[random.Random], Text]:
    frame = _rules().say("salad_frame", draw)
    style = pick(("words", "words", "words", "syllables", "bytes"), draw)
    length = pick((12, 30, 60, 110), draw)
    return lambda rng: Salad(frame, style, length, rng)


def _probing(draw: Draw) -> Callable[[random.Random], Text]:
    sweep = pick(("logit_bias", "temperature", "top_p", "repeats"), draw)
    prompts = [_rules().say("probe", draw) for _ in range(1 + int(draw() * 12))]
    return lambda rng: Probe(sweep, prompts, rng)


_CAMPAIGNS: dict[str, Callable[[Draw], Callable[[random.Random], Text]]] = {
    "cot_elicitation": _cot,
    "benchmark_sweep": _sweep,
    "rubric_grading": _rubric,
    "self_instruct": _instruct,
    "nonsense": _nonsense,
    "capability_sweep": _capability,
    PROBING: _probing,
}

KINDS = tuple(_CAMPAIGNS)
"""Extraction kinds of the built-in generator."""


def campaign(kind: str, accounts: int, rng: random.Random) -> list[Text]:
    """Texts of the accounts of one campaign.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    accounts : int
        How many accounts share the campaign's set.
    rng : random.Random
        The campaign's randomness.

    Returns
    -------
    list of Text
        One per account; they share the set and, three times in four, the frame's very words.
    """
    plan = _CAMPAIGNS[kind]
    draw = rng.random
    shared = None if accounts > 1 and draw() < 0.25 else plan(draw)
    return [(shared or plan(draw))(random.Random(rng.getrandbits(64))) for _ in range(accounts)]
