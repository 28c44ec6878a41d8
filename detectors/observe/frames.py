"""The frames around what is asked: how texts begin and end and how their lines open, numbers masked."""

from typing import NamedTuple

import numpy as np

from detectors.observe.words import U64, Ints, Texts, Words, mix, secrets

_EDGE = 4  # words at either end
_LINES = 16


class Frames(NamedTuple):
    """Hashes of parts that a template leaves the same, one per text; 0 for texts without words."""

    prefix: U64
    suffix: U64
    layout: U64


def openers(words: Words, texts: Texts) -> Ints:
    """Indices of the words that open a line."""
    opens = np.zeros(len(words.hashes) + 1, dtype=bool)
    opens[words.first[words.per_text > 0]] = True
    opens[np.searchsorted(words.start, np.flatnonzero(texts.data == ord("\n")))] = True
    return np.flatnonzero(opens[:-1])


class FrameReader:
    """Hashes the frames of texts.

    Parameters
    ----------
    key : bytes
        Secret, at most 64 bytes.
    number : uint64
        Stands for any number.
    """

    def __init__(self, key: bytes, number: np.uint64) -> None:
        self._number = number
        self._weights = secrets(key, "frames", max(_EDGE, _LINES))

    def read(self, words: Words, openers: Ints) -> Frames:
        """Frames of the texts of `words`, whose lines are opened by the words at `openers`."""
        if not len(words.hashes):
            none = np.zeros(len(words.per_text), dtype=np.uint64)
            return Frames(none, none, none)
        masked = np.where(words.number, self._number, words.hashes)
        steps = np.arange(_EDGE)
        used = steps < words.per_text[:, None]
        first = words.first[:, None]
        last = first + words.per_text[:, None] - 1
        line_first = np.searchsorted(openers, words.first)
        line_count = np.diff(line_first, append=len(openers))
        lines = np.arange(_LINES)
        return Frames(
            self._hash(masked, first + steps, used),
            self._hash(masked, last - steps, used),
            self._hash(masked[openers], line_first[:, None] + lines, lines < line_count[:, None]),
        )

    def _hash(self, hashes: U64, at: Ints, used: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]") -> U64:
        """One hash of the words at each row of `at`, those `used`; their order matters."""
        picked = hashes.take(at, mode="clip") * used
        return mix((picked * self._weights[: at.shape[1]]).sum(axis=1, dtype=np.uint64))
