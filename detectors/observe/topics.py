"""What texts are about, as sketches: projection, near-duplicate hash, topic bucket, sampled vocabulary."""

import hashlib
from typing import Any

import numpy as np

from detectors.observation import COVERAGE_BUCKETS, SKETCH_DIMENSIONS, VOCABULARY_SAMPLE
from detectors.observe.words import U64, WordHasher, Words, chain

# Words that say how, not what. Short words are left out by length already.
_STOPWORDS = (
    "about above after again also because been before being below between both cannot could does doing "
    "down during each from further have having here hers herself himself into itself just like more most "
    "myself need once only other ours over please same should some such than that their theirs them then "
    "there these they this those through under until very want were what when where which while whom will "
    "with would your yours eine einen nicht oder sich sind wird dass pour dans avec sont mais para como "
    "esta pero "
)
_SHORTEST = 4  # bytes of a word that counts as content; a wide character always does
_POSITIONS = 3  # signed positions per token in the sketch: a sparse projection (Achlioptas, 2003)
_SAMPLED_BITS = np.uint64(61)  # words whose three highest bits are zero: one in eight, the same everywhere


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
        data = np.frombuffer(_STOPWORDS.encode() + b"\0", dtype=np.uint8)
        stop = hasher.words(data, np.array([0]), np.array([len(data) - 1])).hashes
        self._stop = np.zeros(1 << 16, dtype=bool)
        self._stop[stop & np.uint64(0xFFFF)] = True
        bits = COVERAGE_BUCKETS.bit_length() - 1
        planes = _signs(key, SKETCH_DIMENSIONS * (SKETCH_DIMENSIONS + bits))
        self._planes = planes.reshape(SKETCH_DIMENSIONS, SKETCH_DIMENSIONS + bits)

    def sketch(self, words: Words, texts: int) -> tuple[Any, U64, Any]:
        """Projection (int8, shape (texts, 64)), near-duplicate hash (uint64) and topic bucket (uint16)."""
        content = ((words.size >= _SHORTEST) | words.wide) & ~self._stop[words.hashes & np.uint64(0xFFFF)]
        tokens, owner = words.hashes[content], words.text[content]
        if len(tokens) > 1:
            together = owner[:-1] == owner[1:]
            pairs = chain(tokens[:-1], tokens[1:])[together]
            tokens, owner = np.concatenate((tokens, pairs)), np.concatenate((owner, owner[:-1][together]))
        cells = np.zeros(texts * SKETCH_DIMENSIONS)
        for position in range(_POSITIONS):
            part = (tokens >> np.uint64(8 * position)).astype(np.int64)
            sign = 1.0 - 2.0 * ((part >> 6) & 1)
            cells += np.bincount(
                owner * SKETCH_DIMENSIONS + (part & (SKETCH_DIMENSIONS - 1)), sign, texts * SKETCH_DIMENSIONS
            )
        counts = cells.reshape(texts, SKETCH_DIMENSIONS)  # small integers, so sums of products are exact
        norm = np.sqrt((counts * counts).sum(axis=1, keepdims=True))
        unit = np.rint(counts * (127.0 / np.where(norm > 0, norm, 1.0))).astype(np.int8)
        sides = (counts @ self._planes) > 0
        near = sides[:, :SKETCH_DIMENSIONS] @ (np.uint64(1) << np.arange(SKETCH_DIMENSIONS, dtype=np.uint64))
        high = sides[:, SKETCH_DIMENSIONS:] @ (1 << np.arange(sides.shape[1] - SKETCH_DIMENSIONS))
        return unit, near.astype(np.uint64), high.astype(np.uint16)

    def vocabulary(self, words: Words, texts: int) -> Any:
        """Consistent sample of distinct words: uint16, shape (texts, 16), 0 where there are fewer."""
        sample = np.zeros((texts, VOCABULARY_SAMPLE), dtype="<u2")
        chosen = (words.hashes >> _SAMPLED_BITS) == 0
        hashes, owner = words.hashes[chosen], words.text[chosen]
        if not len(hashes):
            return sample
        order = np.lexsort((hashes, owner))
        hashes, owner = hashes[order], owner[order]
        new = np.ones(len(hashes), dtype=bool)
        new[1:] = (hashes[1:] != hashes[:-1]) | (owner[1:] != owner[:-1])
        hashes, owner = hashes[new], owner[new]
        count = np.bincount(owner, minlength=texts)
        rank = np.arange(len(owner)) - np.concatenate(([0], np.cumsum(count)[:-1]))[owner]
        kept = rank < VOCABULARY_SAMPLE
        names = (hashes[kept] >> np.uint64(24)) % np.uint64(65535) + np.uint64(1)
        sample[owner[kept], rank[kept]] = names
        return sample


def _signs(key: bytes, count: int) -> Any:
    """`count` secret values of +1 and -1."""
    stream = b"".join(
        hashlib.blake2b(block.to_bytes(4, "little"), key=key, person=b"planes", digest_size=64).digest()
        for block in range(-(-count // 512))
    )
    bits = np.unpackbits(np.frombuffer(stream, dtype=np.uint8))[:count]
    return 1.0 - 2.0 * bits
