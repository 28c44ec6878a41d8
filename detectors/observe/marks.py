"""Elicitation marks: which families of phrases occur in a text, found by hash, never by regular expression.

The phrases are data (`marks.json`, versioned). A phrase of up to six words is a chain of word
hashes; a small table by the low bits lets nearly every position of a text pass without a look-up.
"""

import json
from importlib import resources

import numpy as np

from detectors.errors import ConfigError
from detectors.observe.words import Ints, WordHasher, Words, chain

_LONGEST = 6
_FILTER_BITS = 16


def _load() -> tuple[int, dict[str, list[str]]]:
    data = json.loads(resources.files("detectors.observe").joinpath("marks.json").read_text("utf-8"))
    families = data["families"]
    if len(families) > 32:
        raise ConfigError(f"marks.json has {len(families)} families; an observation has room for 32")
    return int(data["version"]), families


VERSION, _FAMILIES = _load()
MARKS: tuple[str, ...] = tuple(_FAMILIES)
"""Names of the families; the bit of a family is its place here."""


class MarkFinder:
    """Finds phrases in texts that are already divided into hashed words.

    Parameters
    ----------
    hasher : WordHasher
        The one whose words will be searched; phrases are hashed with its key.
    """

    def __init__(self, hasher: WordHasher) -> None:
        self._phrases: list[dict[int, int]] = [{} for _ in range(_LONGEST)]
        self._filters = np.zeros((_LONGEST, 1 << _FILTER_BITS), dtype=bool)
        for bit, phrases in enumerate(_FAMILIES.values()):
            for phrase in phrases:
                self._add(hasher, phrase, 1 << bit)

    def _add(self, hasher: WordHasher, phrase: str, bit: int) -> None:
        data = np.frombuffer(phrase.encode() + b"\0", dtype=np.uint8)
        words = hasher.words(data, np.array([0]), np.array([len(data) - 1]))
        length = len(words.hashes)
        if not 1 <= length <= _LONGEST:
            raise ConfigError(f"marks.json: {phrase!r} has {length} words; a phrase has 1 to {_LONGEST}")
        value = words.hashes[:1]
        for at in range(1, length):
            value = chain(value, words.hashes[at : at + 1])
        known = self._phrases[length - 1]
        known[int(value[0])] = known.get(int(value[0]), 0) | bit
        self._filters[length - 1, int(value[0]) & ((1 << _FILTER_BITS) - 1)] = True

    def find(self, words: Words, texts: int) -> Ints:
        """Bits of the families found, shape (texts,)."""
        found = np.zeros(texts, dtype=np.int64)
        value = words.hashes
        low = np.uint64((1 << _FILTER_BITS) - 1)
        for length in range(1, _LONGEST + 1):
            if length > 1:
                if len(words.hashes) < length:
                    break
                value = chain(value[:-1], words.hashes[length - 1 :])
            known = self._phrases[length - 1]
            for at in np.flatnonzero(self._filters[length - 1][value & low]).tolist():
                bits = known.get(int(value[at]))
                if bits is not None and words.text[at] == words.text[at + length - 1]:
                    found[words.text[at]] |= bits
        return found


def names(bits: int) -> list[str]:
    """Families of a bit mask."""
    return [name for bit, name in enumerate(MARKS) if bits >> bit & 1]
