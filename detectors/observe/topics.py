"""What texts are about, as sketches: projection, near-duplicate hash, topic bucket, sampled vocabulary."""

from typing import Any, NamedTuple

import numpy as np

from detectors.observation import COVERAGE_BUCKETS, SKETCH_DIMENSIONS, VOCABULARY_SAMPLE
from detectors.observe.words import U64, Flags, Ints, WordHasher, Words, chain, join, stream

# Words that say how, not what. Most short ones are left out by length already.
_STOPWORDS = (
    b"about above after again also because been before being below between both cannot could does doing "
    b"down during each from further have having here hers herself himself into itself just like more most "
    b"myself need once only other ours over please same should some such than that their theirs them then "
    b"there these they this those through under until very want were what when where which while whom will "
    b"with would your yours aber auch dann dass dein eine einem einen einer eines haben hier kann mein nicht "
    b"noch oder sein sich sind werden wird alors avec cette comme dans elle leur mais nous pour sans sont "
    b"tout tous vous como con\xc3\xb3 cuando donde ella entre esta este esto hasta para pero porque sobre "
    b"todo todos tiene unos aqui esse isso mais muito n\xc3\xa3o pela pelo quando voc\xc3\xaa"
)
_SHORTEST = 4  # bytes of a word that counts as content; a wide character always does
_POSITIONS = 2  # signed cells per token: a sparse projection (Kane and Nelson, 2014); more changed nothing
_BITS = COVERAGE_BUCKETS.bit_length() - 1
_SAMPLED_BITS = np.uint64(61)  # words whose three highest bits are zero: one in eight, the same everywhere


class Topics(NamedTuple):
    """Sketches of some texts; all zero for a text without words.

    Attributes
    ----------
    sketch : int8, shape (t, 64)
        Projected words and word pairs, unit length times 127.
    near : uint64, shape (t,)
        Near-duplicate texts differ in few bits.
    bucket : uint16, shape (t,)
        Locality-sensitive bucket, 0..4095.
    """

    sketch: Any
    near: U64
    bucket: Any


class TopicSketcher:
    """Sketches of texts that are already divided into hashed words.

    Parameters
    ----------
    hasher : WordHasher
        The one whose words will be sketched.
    key : bytes
        Secret, at most 64 bytes: projections cannot be predicted without it.
    """

    def __init__(self, hasher: WordHasher, key: bytes) -> None:
        self._stop = np.zeros(1 << 16, dtype=bool)
        self._stop[_slot(hasher.words(join([_STOPWORDS])).hashes)] = True
        planes = stream(key, "planes", SKETCH_DIMENSIONS * (SKETCH_DIMENSIONS + _BITS))
        # Of many sizes, because texts of few words would lie on planes of ones, and look alike for it.
        self._planes = np.frombuffer(planes, dtype=np.int8).astype(np.float64).reshape(SKETCH_DIMENSIONS, -1)

    def sketch(self, words: Words) -> Topics:
        """Sketches of the texts of `words`."""
        texts = len(words.per_text)
        tokens, text = _tokens(words, self._content(words))
        cells = np.zeros((texts, 2 * SKETCH_DIMENSIONS), dtype=np.int64)
        octets = tokens.view(np.uint8).reshape(-1, 8)
        row = text * (2 * SKETCH_DIMENSIONS)
        for position in range(_POSITIONS):
            cell = row + (octets[:, position] & np.uint8(2 * SKETCH_DIMENSIONS - 1))
            cells += np.bincount(cell, minlength=cells.size).reshape(cells.shape)
        # Small whole numbers, hence exact in any order of summation.
        counts = (cells[:, :SKETCH_DIMENSIONS] - cells[:, SKETCH_DIMENSIONS:]).astype(np.float64)
        norm = np.sqrt(np.square(counts).sum(axis=1, keepdims=True))
        unit = np.rint(counts * (127.0 / np.maximum(norm, 1.0))).astype(np.int8)
        packed = np.packbits(counts @ self._planes > 0, axis=1, bitorder="little")
        near = packed[:, :8].copy().view("<u8").ravel()
        return Topics(unit, near, packed[:, 8:10].copy().view("<u2").ravel())

    def vocabulary(self, words: Words) -> Any:
        """Consistent sample of distinct words: uint16, shape (t, 16), 0 where there are fewer."""
        sample = np.zeros((len(words.per_text), VOCABULARY_SAMPLE), dtype="<u2")
        chosen = np.flatnonzero(words.hashes >> _SAMPLED_BITS == 0)
        # One sort for all texts: the text's number above 48 bits of the hash.
        keys = words.text[chosen].view(np.uint64) << np.uint64(48)
        keys |= words.hashes[chosen] >> np.uint64(13)
        keys.sort()
        keys = keys[np.diff(keys, prepend=~keys[:1]) != 0]
        text = (keys >> np.uint64(48)).view(np.int64)
        rank = np.arange(len(keys)) - np.searchsorted(text, text)
        kept = rank < VOCABULARY_SAMPLE
        names = (keys[kept] & np.uint64(0xFFFFFFFF)) % np.uint64(0xFFFF) + np.uint64(1)
        sample[text[kept], rank[kept]] = names
        return sample

    def _content(self, words: Words) -> Flags:
        """Which words say what a text is about; in a text of other words only, all of them."""
        content = ((words.size >= _SHORTEST) | words.wide) & ~self._stop.take(_slot(words.hashes))
        found = np.bincount(words.text[content], minlength=len(words.per_text)) > 0
        return content | ~found.take(words.text)


def _tokens(words: Words, content: Flags) -> tuple[U64, Ints]:
    """Content words and pairs of neighbours among them, with the text each is of."""
    at = np.flatnonzero(content)
    hashes, text = words.hashes[at], words.text[at]
    together = np.flatnonzero(text[1:] == text[:-1])
    pairs = chain(hashes[together], hashes[together + 1])
    return np.concatenate((hashes, pairs)), np.concatenate((text, text[together]))


def _slot(hashes: U64) -> Ints:
    """Place in a table of 65,536; the highest bits, which no other use of a hash depends on alone."""
    return (hashes >> np.uint64(48)).view(np.int64)
