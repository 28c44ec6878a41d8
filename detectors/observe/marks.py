"""Elicitation marks: which families of phrases occur in a text, found by hash, never by regular expression.

The phrases are data (`marks.json`, versioned). They are looked for in the sequence of a text's words
and, those that make up the frame of a form, in the sequence of the words that open its lines.
"""

import json
from collections.abc import Iterable, Iterator
from importlib import resources
from typing import Any

import numpy as np

from detectors.errors import require
from detectors.observe.words import U64, Ints, WordHasher, Words, chain, join

LONGEST = 8  # words of a phrase
_FORMS = "line_starts"  # the entry of a family that is matched against the words that open lines
_BITS = -1  # key of a node's own bits; hashes are not negative
_STEPS = np.arange(LONGEST)


def _load() -> tuple[int, dict[str, dict[str, list[str]]]]:
    data = json.loads(resources.files("detectors.observe").joinpath("marks.json").read_text("utf-8"))
    families: dict[str, dict[str, list[str]]] = data["families"]
    require(len(families) <= 32, f"marks.json: {len(families)} families; an observation has room for 32")
    return int(data["version"]), families


VERSION, FAMILIES = _load()
"""`FAMILIES`: phrases by family and language, as `marks.json` has them."""

MARKS: tuple[str, ...] = tuple(FAMILIES)
"""Names of the families; the bit of a family is its place here."""


def names(bits: int) -> list[str]:
    """Families of a bit mask."""
    return [name for bit, name in enumerate(MARKS) if bits >> bit & 1]


class MarkFinder:
    """Finds phrases in texts that are already divided into hashed words.

    Parameters
    ----------
    hasher : WordHasher
        The one whose words will be searched; phrases are hashed with its key.
    """

    def __init__(self, hasher: WordHasher) -> None:
        self._in_words = _Phrases(hasher, _phrases(forms=False))
        self._in_lines = _Phrases(hasher, _phrases(forms=True))

    def find(self, words: Words, openers: Ints) -> Ints:
        """Bits of the families found in each text, shape (t,).

        `openers` are the indices, among `words`, of those that open a line.
        """
        found = np.zeros(len(words.per_text), dtype=np.int64)
        self._in_words.mark(words.hashes, words.text, found)
        self._in_lines.mark(words.hashes[openers], words.text[openers], found)
        return found


def _phrases(*, forms: bool) -> Iterator[tuple[str, int]]:
    for bit, languages in enumerate(FAMILIES.values()):
        for language, phrases in languages.items():
            if (language == _FORMS) is forms:
                for phrase in phrases:
                    yield phrase, 1 << bit


class _Phrases:
    """A prefix tree of word hashes, behind two small tables that let nearly every position pass."""

    def __init__(self, hasher: WordHasher, phrases: Iterable[tuple[str, int]]) -> None:
        self._tree: dict[int, Any] = {}
        # By the highest bits of: a phrase's first word, its first two, the word of a phrase of one.
        self._first, self._second, self._alone = np.zeros((3, 1 << 16), dtype=bool)
        for phrase, bit in phrases:
            # Hashes ignore case for ASCII only; other alphabets are entered as sentences begin, too.
            for form in {phrase, phrase[:1].upper() + phrase[1:]}:
                self._add(hasher.words(join([form.encode()])).hashes, bit, phrase)

    def _add(self, hashes: U64, bit: int, phrase: str) -> None:
        length = len(hashes)
        require(
            1 <= length <= LONGEST, f"marks.json: {phrase!r} has {length} words, allowed are 1 to {LONGEST}"
        )
        self._first[_slot(hashes[:1])] = True
        if length == 1:
            self._alone[_slot(hashes)] = True
        else:
            self._second[_slot(chain(hashes[:1], hashes[1:2]))] = True
        node = self._tree
        for word in hashes.tolist():
            node = node.setdefault(word, {})
        node[_BITS] = node.get(_BITS, 0) | bit

    def mark(self, hashes: U64, text: Ints, found: Ints) -> None:
        """Set in `found` the bits of the phrases in a sequence of words; `text` says whose each is."""
        if not len(hashes):
            return
        at = np.flatnonzero(self._first.take(_slot(hashes)))
        first, follows = hashes[at], np.minimum(at + 1, len(hashes) - 1)
        goes_on = self._second.take(_slot(chain(first, hashes[follows]))) & (text[at] == text[follows])
        at = at[goes_on | self._alone.take(_slot(first))]
        if not len(at):
            return
        places = at[:, None] + _STEPS
        own = (places < len(hashes)) & (text.take(places, mode="clip") == text[at, None])
        spans = hashes.take(places, mode="clip") * own
        for span, owner in zip(spans.tolist(), text[at].tolist(), strict=True):
            bits = self._bits(span)
            if bits:
                found[owner] |= bits

    def _bits(self, span: list[int]) -> int:
        """Bits of the phrases that a sequence of words begins with."""
        node: dict[int, Any] = self._tree
        bits = 0
        for word in span:
            if word not in node:
                break
            node = node[word]
            bits |= node.get(_BITS, 0)
        return bits


def _slot(hashes: U64) -> Ints:
    """Place in a table of 65,536."""
    return (hashes >> np.uint64(48)).view(np.int64)
