"""Byte statistics of many texts at once: entropy and the shares of kinds of characters."""

import math
from typing import Any, NamedTuple

import numpy as np

from detectors.observe.words import Ints, Texts

Floats = np.ndarray[Any, np.dtype[np.float64]]

_UNIT = 1 << 20  # of the fixed point in which c * log2(c) is kept: sums are exact, in any order
_KINDS = ("0", "9"), ("A", "Z"), ("!", "/"), (":", "@"), ("[", "`"), ("{", "~"), ("\n", "\n")


class Shape(NamedTuple):
    """Byte statistics, one entry per text; NaN where a text is empty.

    `entropy` is the plug-in Shannon entropy of its bytes, bits per byte; the others are shares of
    its bytes, 0..1.
    """

    entropy: Floats
    digits: Floats
    capitals: Floats
    symbols: Floats
    newlines: Floats


class ShapeReader:
    """Reads byte statistics.

    Notes
    -----
    Keeps a table of c * log2(c) up to the longest text seen. A fixed point makes the sum over the
    256 bytes exact, so that neither the batch nor the processor's vector width changes a digit.
    """

    def __init__(self) -> None:
        self._c_log_c = _table(1 << 12)

    def read(self, texts: Texts) -> Shape:
        """Byte statistics of some texts."""
        counts = _histograms(texts)
        longest = int(texts.size.max(initial=0))
        if longest >= len(self._c_log_c):
            self._c_log_c = _table(1 << longest.bit_length())
        spread = self._c_log_c.take(counts).sum(axis=1)
        total = np.where(texts.size > 0, texts.size, np.nan)
        up_to = np.cumsum(counts, axis=1)
        digits, capitals, *symbols, newlines = (
            up_to[:, ord(last)] - up_to[:, ord(first) - 1] for first, last in _KINDS
        )
        return Shape(
            (self._c_log_c.take(texts.size) - spread) / (total * _UNIT),
            digits / total,
            capitals / total,
            sum(symbols) / total,
            newlines / total,
        )


def _histograms(texts: Texts) -> Ints:
    """How often each byte occurs in each text, shape (t, 256)."""
    count = len(texts.size)
    cell = np.repeat(np.arange(count) * 256, texts.size + 1)
    cell += texts.data[: len(cell)]  # each text with the zero byte before it
    histograms = np.bincount(cell, minlength=count * 256).reshape(count, 256)
    histograms[:, 0] -= 1
    return histograms


def _table(size: int) -> Ints:
    return np.array([0, *(round(c * math.log2(c) * _UNIT) for c in range(1, size))], dtype=np.int64)
