r"""A small text grammar: patterns with slots, expanded at random from a given source of randomness.

A rule has alternatives, one per line. `{name}` in an alternative is replaced by an alternative of
the rule `name`, `{name^}` the same with a capital first letter, `{2-90}` by a whole number in the
range, `{key=name}` as `{name}` but remembered, so that a later `{key}` repeats it. Any other braces
are ordinary text (JSON and code need them). `\n` and `\t` stand for a line break and a tab.
"""

import functools
import importlib.resources
import re
import tomllib
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

Draw = Callable[[], float]
"""Source of randomness: a number in [0, 1) per call, as `random.Random.random`."""

_NAME = r"[^\W\d_A-Z]\w*"  # small letters first, of any script
_SLOT = re.compile(rf"\{{(?:({_NAME})=)?(?:({_NAME})(\^)?|(\d+)-(\d+))\}}")

# A compiled alternative: plain text, or pieces of (literal before, slot); slot None ends it.
_Slot = tuple[str | None, str, bool, int, int]  # key to remember under, rule, capital, low, width
_Piece = tuple[str, _Slot | None]
_Alternative = str | tuple[_Piece, ...]


def pick(items: Any, draw: Draw) -> Any:
    """One item of a sequence, all alike likely."""
    return items[int(draw() * len(items))]


class Grammar:
    """Rules by name.

    Parameters
    ----------
    rules : mapping
        Name of each rule to its alternatives.
    given : frozenset of str
        Slots whose text every call of `say` brings in `bound`.

    Raises
    ------
    ValueError
        A rule has no alternative, or a slot names no rule, nothing given and nothing remembered
        further left in the same alternative.
    """

    def __init__(self, rules: Mapping[str, list[str]], given: frozenset[str] = frozenset()) -> None:
        self._rules: dict[str, tuple[_Alternative, ...]] = {}
        for name, alternatives in rules.items():
            if not alternatives:
                raise ValueError(f"rule {name!r} has no alternative; give at least one line")
            for text in alternatives:
                known = set(given)
                for found in _SLOT.finditer(text):
                    key, slot = found[1], found[2]
                    if slot and slot not in rules and slot not in known:
                        raise ValueError(f"rule {name!r} has the slot {{{slot}}} in {text!r}: no such rule")
                    known.add(key)
            self._rules[name] = tuple(_compile(text) for text in alternatives)

    def __contains__(self, name: str) -> bool:
        return name in self._rules

    def size(self, name: str) -> int:
        """How many alternatives a rule has, not counting what its slots multiply."""
        return len(self._rules[name])

    def say(self, name: str, draw: Draw, bound: MutableMapping[str, str] | None = None) -> str:
        """Text of a rule; slots named in `bound` take their text from there, remembered ones add to it."""
        alternatives = self._rules[name]
        chosen = alternatives[int(draw() * len(alternatives))]
        if isinstance(chosen, str):
            return chosen
        if bound is None:
            bound = {}
        said: list[str] = []
        for literal, slot in chosen:
            said.append(literal)
            if slot is None:
                break
            key, rule, capital, low, width = slot
            if width:
                text = str(low + int(draw() * width))
            elif rule in bound:
                text = bound[rule]
            else:
                text = self.say(rule, draw, bound)
            if key is not None:
                bound[key] = text
            said.append(text[:1].upper() + text[1:] if capital else text)
        return "".join(said)


def _compile(text: str) -> _Alternative:
    pieces: list[_Piece] = []
    end = 0
    for match in _SLOT.finditer(text):
        key, rule, capital, low, high = match.groups()
        slot = (key, rule or "", capital is not None, int(low or 0), int(high) - int(low) + 1 if high else 0)
        pieces.append((text[end : match.start()], slot))
        end = match.end()
    if not pieces:
        return text
    pieces.append((text[end:], None))
    return tuple(pieces)


def lines(block: str) -> list[str]:
    """Alternatives of a block: its lines, and several on one line where they are divided by ` ; `."""
    return [
        part.strip().replace("\\n", "\n").replace("\\t", "\t")
        for line in block.strip().splitlines()
        for part in line.split(" ; ")
        if part.strip()
    ]


@functools.cache
def tables(name: str) -> dict[str, Any]:
    """Tables of one grammar file, its blocks as lists of alternatives."""
    text = importlib.resources.files(__package__).joinpath(f"grammars/{name}.toml").read_text("utf-8")
    return {key: _split(value) for key, value in tomllib.loads(text).items()}


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return lines(value)
    if isinstance(value, dict):
        return {key: _split(inner) for key, inner in value.items()}
    return value


@functools.cache
def grammar(*names: str, given: frozenset[str] = frozenset()) -> Grammar:
    """The rules of grammar files together; a later file's rule takes the place of an earlier one's."""
    rules: dict[str, list[str]] = {}
    for name in names:
        rules.update(tables(name)["rules"])
    return Grammar(rules, given)
