"""Byte statistics of many texts at once: entropy and the shares of kinds of characters."""

import math
from typing import Any, NamedTuple

import numpy as np

from detectors.observe.words import Bytes, Ints

Floats = np.ndarray[Any, np.dtype[np.float64]]

_KINDS = np.zeros((256, 4), dtype=np.int64)
_KINDS[ord("0") : ord("9") + 1, 0] = 1
_KINDS[ord("A") : ord("Z") + 1, 1] = 1
for _byte in range(33, 127):
    if not chr(_byte).isalnum():
        _KINDS[_byte, 2] = 1
_KINDS[10, 3] = 1

_TABLE_SIZE = 1 << 16
_C_LOG_C = np.array([0.0] + [c * math.log2(c) for c in range(1, _TABLE_SIZE)])


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


def shape(data: Bytes, starts: Ints, ends: Ints) -> Shape:
    """Byte statistics of the texts at `data[starts[i]:ends[i]]`, each followed by one zero byte."""
    texts = len(starts)
    sizes = ends - starts
    owner = np.repeat(np.arange(texts), sizes + 1)  # each text is followed by one zero byte
    counts = np.bincount(owner * 256 + data, minlength=texts * 256).reshape(texts, 256)
    counts[:, 0] -= 1
    total = sizes.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        big = counts >= _TABLE_SIZE
        spread = _C_LOG_C[np.where(big, 0, counts)].sum(axis=1)
        if big.any():
            spread += np.where(big, counts * np.log2(np.where(big, counts, 1)), 0.0).sum(axis=1)
        entropy = np.log2(total) - spread / total
        shares = (counts @ _KINDS) / total[:, None]
    entropy = np.where(sizes > 0, np.maximum(entropy, 0.0), np.nan)
    return Shape(entropy, shares[:, 0], shares[:, 1], shares[:, 2], shares[:, 3])
