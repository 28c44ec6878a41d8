"""Words of many texts at once, as keyed 64-bit hashes.

All texts of a batch lie in one byte array and are divided and hashed together, because a NumPy call
costs about a microsecond whatever it works on. Arithmetic is integer and exact, so a text's words
do not depend on what else is in the batch.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

U64 = np.ndarray[Any, np.dtype[np.uint64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]

_CHUNK = 8  # bytes of a word hashed at a time
_CHUNKS = 8  # chunks read of a word: what lies beyond 64 bytes is data, not language
_LOW_BYTES = np.array([(1 << 8 * size) - 1 for size in range(_CHUNK + 1)], dtype=np.uint64)


class Texts(NamedTuple):
    """Texts of a batch, end to end.

    Attributes
    ----------
    data : uint8, shape (b,)
        A zero byte before each text and some after the last one.
    first : int64, shape (t,)
        Where each text begins.
    size : int64, shape (t,)
        Bytes of each text.
    """

    data: Bytes
    first: Ints
    size: Ints


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
        It is one character of a script that is written without spaces, or an emoji.
    first : int64, shape (t,)
        Index of each text's first word; for a text without words, that of the next word.
    per_text : int64, shape (t,)
        Words of each text.
    """

    hashes: U64
    text: Ints
    start: Ints
    size: Ints
    number: Flags
    wide: Flags
    first: Ints
    per_text: Ints


def join(texts: Sequence[bytes]) -> Texts:
    """Texts end to end."""
    size = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    first = np.cumsum(size + 1) - size
    data = np.frombuffer(b"\0".join((b"", *texts, bytes(_CHUNK))), dtype=np.uint8)
    return Texts(data, first, size)


def mix(values: U64) -> U64:
    """Final mixing of 64-bit values (Appleby, MurmurHash3, 2011)."""
    shifted = values >> np.uint64(33)
    mixed = values ^ shifted
    mixed *= np.uint64(0xFF51AFD7ED558CCD)
    np.right_shift(mixed, np.uint64(33), out=shifted)
    mixed ^= shifted
    mixed *= np.uint64(0xC4CEB9FE1A85EC53)
    np.right_shift(mixed, np.uint64(33), out=shifted)
    mixed ^= shifted
    return mixed


def chain(left: U64, right: U64) -> U64:
    """Hash of two hashes, in this order. Both are mixed already, so one round is enough."""
    chained = left * np.uint64(0xD6E8FEB86659FD93)
    chained += right
    chained ^= chained >> np.uint64(32)
    chained *= np.uint64(0x9E3779B97F4A7C15)
    chained ^= chained >> np.uint64(29)
    return chained


def secrets(key: bytes, purpose: str, count: int) -> U64:
    """`count` odd 64-bit numbers that only the holder of the key can know."""
    return np.frombuffer(stream(key, purpose, 8 * count), dtype="<u8").astype(np.uint64) | np.uint64(1)


def stream(key: bytes, purpose: str, size: int) -> bytes:
    """`size` bytes that only the holder of the key can know, others for each purpose."""
    blocks = (
        hashlib.blake2b(block.to_bytes(4, "little"), key=key, person=purpose.encode(), digest_size=64)
        for block in range(-(-size // 64))
    )
    return b"".join(block.digest() for block in blocks)[:size]


class WordHasher:
    """Divides texts into words and hashes them with a key.

    A word is a run of ASCII letters and digits and of letters of other alphabets; each Chinese,
    Japanese, Korean, Thai or Indic character and each emoji is a word of its own. ASCII case is
    ignored. Words of up to eight bytes cannot collide; for longer ones a collision cannot be made
    without the key.

    Parameters
    ----------
    key : bytes
        Secret, at most 64 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._mask, self._scale, self._step, self.number = secrets(key, "words", 4)
        """`number` stands for any number where numbers are masked."""

    def words(self, texts: Texts) -> Words:
        """Words of some texts."""
        data = texts.data
        letter, wide = _letters(data)
        begins = letter[1:] & ~letter[:-1]
        ends = letter[:-1] & ~letter[1:]
        if wide is not None:
            # Each wide character is a word, and so is what follows one.
            after = np.zeros(len(data), dtype=bool)
            after[3:] |= wide[:-3] & (data[:-3] < 0xF0)
            after[4:] |= wide[:-4] & (data[:-4] >= 0xF0)
            split = ((wide | after) & letter)[1:]
            begins |= split
            ends |= split & letter[:-1]
        start = np.flatnonzero(begins) + 1
        size = np.flatnonzero(ends) + 1 - start
        first = np.searchsorted(start, texts.first)
        count = np.diff(first, append=len(start))
        lead = data.take(start)
        return Words(
            hashes=self._hash(data, start, size),
            text=np.repeat(np.arange(len(first)), count),
            start=start,
            size=size,
            number=(lead - np.uint8(48)) < 10,
            wide=np.zeros(len(start), dtype=bool) if wide is None else wide.take(start),
            first=first,
            per_text=count,
        )

    def rehash(self, texts: Texts, start: Ints, size: Ints) -> U64:
        """Hashes, by this key, of stretches of texts that another key has divided; at least one byte each."""
        return self._hash(texts.data, start, size)

    def _hash(self, data: Bytes, start: Ints, size: Ints) -> U64:
        folded = data | (((data - np.uint8(65)) < 26).view(np.uint8) << np.uint8(5))
        # The eight bytes from every place on. Indexed rather than taken: `take` would copy them all.
        windows: U64 = np.ndarray((len(data) - _CHUNK + 1,), dtype="<u8", buffer=folded, strides=(1,))
        chunk = windows[start] & _LOW_BYTES.take(np.minimum(size, _CHUNK))
        hashes = mix((chunk ^ self._mask) * self._scale)
        long = np.flatnonzero(size > _CHUNK)
        for chunks in range(1, _CHUNKS):
            if not len(long):
                break
            done = chunks * _CHUNK
            rest = size[long] - done
            chunk = windows[start[long] + done] & _LOW_BYTES.take(np.minimum(rest, _CHUNK))
            hashes[long] = mix((hashes[long] ^ chunk) * self._step)
            long = long[rest > _CHUNK]
        if len(long):
            hashes[long] = mix((hashes[long] ^ size[long].view(np.uint64)) * self._step)
        return hashes


def _letters(data: Bytes) -> tuple[Flags, Flags | None]:
    """Which bytes belong to words, and which begin wide characters; None when none can."""
    letter = ((data | np.uint8(32)) - np.uint8(97)) < 26
    letter |= (data - np.uint8(48)) < 10
    foreign = data >= 0x80
    if not foreign.any():
        return letter, None
    letter |= foreign
    # Signs and spaces beyond ASCII: U+0080-00BF, U+2000-2FFF, U+3000-303F, U+F000-FFFF (full-width forms).
    two = data == 0xC2
    three = (data == 0xE2) | (data == 0xEF)
    three[:-1] |= (data[:-1] == 0xE3) & (data[1:] == 0x80)
    sign = two | three
    sign[1:] |= two[:-1] | three[:-1]
    sign[2:] |= three[:-2]
    letter &= ~sign
    wide = (data >= 0xE0) & letter
    # Vietnamese and old Greek: U+1E00-1FFF are letters among letters.
    wide[:-1] &= ~((data[:-1] == 0xE1) & (data[1:] >= 0xB8))
    return letter, wide
