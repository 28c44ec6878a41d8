"""Words of many texts at once, as keyed 64-bit hashes.

All texts of a batch lie in one byte array and are divided and hashed together, because a NumPy call
costs about a microsecond whatever it works on. The hash of a word is a polynomial over its bytes
modulo 2**64 with a secret value per byte (so that collisions cannot be made without the key), taken
from prefix sums, and finally mixed. Arithmetic is integer and exact: a text's hashes do not depend
on what else is in the batch.
"""

import hashlib
from typing import Any, NamedTuple

import numpy as np

U64 = np.ndarray[Any, np.dtype[np.uint64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]

_MULTIPLIER = 0x9E3779B97F4A7C15  # odd, so it has an inverse modulo 2**64
_INVERSE = pow(_MULTIPLIER, -1, 1 << 64)
_LEAD_3 = 0xE0  # first byte of a UTF-8 character of three bytes or more: CJK, kana, hangul, Indic

_LETTERS = np.zeros(256, dtype=bool)
_LETTERS[ord("0") : ord("9") + 1] = True
_LETTERS[ord("A") : ord("Z") + 1] = True
_LETTERS[ord("a") : ord("z") + 1] = True
_LETTERS[0x80:] = True
_DIGIT = np.zeros(256, dtype=bool)
_DIGIT[ord("0") : ord("9") + 1] = True


def mix(values: U64) -> U64:
    """Final mixing of 64-bit values (Appleby, MurmurHash3, 2011)."""
    values = values ^ (values >> np.uint64(33))
    values = values * np.uint64(0xFF51AFD7ED558CCD)
    values = values ^ (values >> np.uint64(33))
    values = values * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))


def chain(left: U64, right: U64) -> U64:
    """Hash of two hashes, in this order."""
    return mix(left * np.uint64(0xD6E8FEB86659FD93) + right)


class Words(NamedTuple):
    """Words of a batch of texts, in text order.

    Attributes
    ----------
    hashes : uint64, shape (w,)
    text : int64, shape (w,)
        Which text each word is of.
    start : int64, shape (w,)
        Where it starts in the batch's bytes.
    size : int64, shape (w,)
        Bytes.
    number : bool, shape (w,)
        It begins with a digit.
    wide : bool, shape (w,)
        It is one character of three bytes or more.
    per_text : int64, shape (texts,)
        Words of each text.
    first : int64, shape (texts,)
        Index of each text's first word.
    """

    hashes: U64
    text: Ints
    start: Ints
    size: Ints
    number: np.ndarray[Any, np.dtype[np.bool_]]
    wide: np.ndarray[Any, np.dtype[np.bool_]]
    per_text: Ints
    first: Ints


class WordHasher:
    """Divides texts into words and hashes them with a key.

    Parameters
    ----------
    key : bytes
        Secret, at most 64 bytes.
    """

    def __init__(self, key: bytes) -> None:
        stream = b"".join(
            hashlib.blake2b(bytes([block]), key=key, person=b"word bytes", digest_size=64).digest()
            for block in range(32)
        )
        table = np.frombuffer(stream, dtype="<u8").astype(np.uint64)
        # Upper and lower case hash alike; only ASCII, because other scripts rarely carry meaning in it.
        for upper in range(ord("A"), ord("Z") + 1):
            table[upper] = table[upper + 32]
        self._table = table
        self._powers, self._inverses = _powers(1 << 12)
        number = hashlib.blake2b(key=key, person=b"number", digest_size=8).digest()
        self.number = np.uint64(int.from_bytes(number, "little"))
        """Stands for any number where numbers are masked."""

    def words(self, data: Bytes, starts: Ints, ends: Ints) -> Words:
        """Words of the texts at `data[starts[i]:ends[i]]`; each followed by one zero byte."""
        while len(data) > len(self._powers):
            self._powers, self._inverses = _powers(2 * len(self._powers))
        texts = len(starts)
        letter = _LETTERS[data]
        begins = letter.copy()
        begins[1:] &= ~letter[:-1]
        # Writing without spaces: each wide character is a word, and so is what follows one.
        wide = data >= _LEAD_3
        if wide.any():
            begins |= wide
            after = np.zeros(len(data), dtype=bool)
            after[3:] |= wide[:-3] & (data[:-3] < 0xF0)
            after[4:] |= data[:-4] >= 0xF0
            begins |= after & letter
        start = np.flatnonzero(begins)
        empty = np.zeros(0, dtype=np.int64)
        if not len(start):
            nothing = np.zeros(0, dtype=bool)
            none = np.zeros(texts, dtype=np.int64)
            return Words(np.zeros(0, dtype=np.uint64), empty, empty, empty, nothing, nothing, none, none)
        stops = begins[1:] | ~letter[1:]
        last = np.empty(len(data), dtype=bool)
        last[:-1] = letter[:-1] & stops
        last[-1] = letter[-1]
        end = np.flatnonzero(last) + 1
        sums = np.empty(len(data) + 1, dtype=np.uint64)
        sums[0] = 0
        np.cumsum(self._table[data] * self._powers[: len(data)], out=sums[1:])
        hashes = mix((sums[end] - sums[start]) * self._inverses[start])
        text = np.searchsorted(starts, start, side="right") - 1
        count = np.bincount(text, minlength=texts)
        first = np.concatenate(([0], np.cumsum(count)[:-1]))
        lead = data[start]
        return Words(hashes, text, start, end - start, _DIGIT[lead], lead >= _LEAD_3, count, first)


def _powers(size: int) -> tuple[U64, U64]:
    forward = np.full(size, _MULTIPLIER, dtype=np.uint64)
    backward = np.full(size, _INVERSE, dtype=np.uint64)
    forward[0] = backward[0] = 1
    return np.multiply.accumulate(forward), np.multiply.accumulate(backward)
