"""What a text looks like it is for: log-odds for each kind of query set that models are distilled with.

A linear model on hashed words and word pairs, seen in two ways: as they stand, and with all but the
most common words replaced by their shape, which says how something is asked rather than about what
(text distortion, Stamatatos, 2017). The weights are learned elsewhere and come with the profile, so
unlike all other hashes of an observation these are not keyed: what leaves here is one small number
per kind, and per query set of a kind.
"""

from typing import Any, NamedTuple

import msgspec
import numpy as np
from scipy import sparse

from detectors.errors import ConfigError, require
from detectors.observe.words import U64, Bytes, Ints, Texts, WordHasher, Words, chain, join

MOST_KINDS = 24
UNKNOWN = -128
"""Stands for the log-odds of a text that is not mainly in Latin letters, and of kinds that there are not."""
STEPS = 20.0
"""Of a log-odds per unit: one byte holds -6.35 to 6.35."""
BUCKETS_BITS = 15
BUCKETS = 1 << BUCKETS_BITS

_KEY = b"purpose"  # public: weights that ship with a profile must fit every deployment
_FEWEST_WORDS = 3  # in Latin letters; fewer say nothing about a text's purpose
_MOST_WORDS = 384  # of a text; what it is for shows early
_LARGEST = 127
_SHAPES = 6
_SPACE_LIKE = 8  # bytes read between two words
_COMMON = b"""
a about above after again all also am an and another any are as ask at be because been before being
below between both but by can could did do does doing don done down during each either else every few
find first for from further get give given go had has have he help her here hers him his how however i
if in into is it its just keep know last least less let like made make many may me might more most much
must my name need never new next no nor not nothing now of off often on once one only or other our out
over own per please put rather said same say second see several shall she should since so some still
such take tell ten than thank thanks that the their them then there these they thing think this those
though three through thus to together too two under until up upon us use used using very want was we
well were what when where whether which while who whom whose why will with within without would yes yet
you your answer analyze article assistant based best better brief briefly calculate category change
choose class classify code compare complete compute conclude consider context continue convert correct
create data define describe design detail details determine develop different discuss document edit
email essay evaluate example examples explain explanation extract fix following format function generate
grade hello hi idea ideas identify implement improve include input instruction instructions item items
json label language line lines list main method model number options output paragraph passage person
plan point points possible problem program prompt provide python question questions rank rate rating
read reason reasoning response review rewrite score select sentence sentences sentiment short show
simple solution solve sql state step steps story suggest summarize summary table task tasks test text
title tool topic translate true false type user value word words work write
"""
"""Words that keep their identity in the second view: those that frame a request in English."""


class PurposeModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Weights, part of a profile.

    Attributes
    ----------
    kinds : tuple of str
        At most 24: kinds, and as "kind/source" single query sets of one.
    bias, scale : tuple of float
        Per kind: log-odds of a text without any known feature, and the unit of its weights.
    weights : bytes
        int8, shape (32768, kinds), row by row.
    """

    kinds: tuple[str, ...]
    bias: tuple[float, ...]
    scale: tuple[float, ...]
    weights: bytes


NO_PURPOSES = PurposeModel((), (), (), b"")
"""A model of no kinds: every text's purpose is unknown."""


class Features(NamedTuple):
    """Features of some texts: parallel arrays, and how many words of each text were read.

    Attributes
    ----------
    text : int64, shape (f,)
    bucket : int64, shape (f,)
    words : int64, shape (t,)
    told : bool, shape (t,)
        Whether the text is mainly in Latin letters, and long enough, to say what it is for. The words of
        others teach, as far as they are in Latin letters, but are not read: they are too few.
    """

    text: Ints
    bucket: Ints
    words: Ints
    told: Any


class PurposeReader:
    """Reads what texts look like they are for.

    Parameters
    ----------
    model : PurposeModel
        Learned weights.

    Raises
    ------
    ConfigError
        The weights are not of the shape that the kinds need.
    """

    def __init__(self, model: PurposeModel) -> None:
        kinds = len(model.kinds)
        require(kinds <= MOST_KINDS, f"purpose: {kinds} kinds; an observation has room for {MOST_KINDS}")
        if len(model.weights) != BUCKETS * kinds or len(model.bias) != kinds or len(model.scale) != kinds:
            raise ConfigError(f"purpose: weights, bias and scale must be for {kinds} kinds: fit again")
        self._kinds = kinds
        weights = np.frombuffer(model.weights, dtype=np.int8).reshape(BUCKETS, kinds)
        self._weights = weights.astype(np.float32)
        self._bias = np.array(model.bias)
        self._scale = np.array(model.scale)
        self._features = FeatureReader()

    def read(self, words: Words, texts: Texts) -> "np.ndarray[Any, np.dtype[np.int8]]":
        """Log-odds times 20 for each kind, int8, shape (t, 24); -128 where unknown."""
        found = np.full((len(words.per_text), MOST_KINDS), UNKNOWN, dtype=np.int8)
        if not self._kinds or not len(words.hashes):
            return found
        features = self._features.read(words, texts)
        # Sums of whole numbers, far below 2**24: exact in any order, so a text's purpose does not depend
        # on its batch.
        ones = np.ones(len(features.text), dtype=np.float32)
        counts = sparse.csr_matrix((ones, (features.text, features.bucket)), shape=(len(found), BUCKETS))
        sums = (counts @ self._weights).astype(np.float64)
        log_odds = self._bias + self._scale * sums / np.sqrt(np.maximum(features.words, 1))[:, None]
        steps = np.rint(np.clip(log_odds * STEPS, -_LARGEST, _LARGEST)).astype(np.int8)
        known = features.told
        found[known, : self._kinds] = steps[known]
        return found


class FeatureReader:
    """Hashed features of texts, the same for learning and for reading."""

    def __init__(self) -> None:
        self._hasher = WordHasher(_KEY)
        self._common = np.zeros(1 << 16, dtype=bool)
        self._common[_slot(self._hasher.words(join([_COMMON])).hashes)] = True
        shapes = self._hasher.words(join([b"shape%d" % shape for shape in range(_SHAPES)]))
        self._shapes = shapes.hashes

    def read(self, words: Words, texts: Texts) -> Features:
        """Features of the texts that were divided into `words`, by whatever key."""
        rank = np.arange(len(words.hashes)) - words.first.take(words.text)
        # Other scripts do not vote: hardly any ordinary prompts in them are at hand to learn from, so their
        # mere look would become the purpose.
        read = rank < _MOST_WORDS
        latin = texts.data.take(words.start) < 0x80
        of_text, of_other = (
            np.bincount(words.text[read & which], minlength=len(words.per_text))
            for which in (latin & ~words.number, ~latin)
        )
        at = np.flatnonzero(read & latin)
        text, start, size = words.text[at], words.start[at], words.size[at]
        hashes = self._hasher.rehash(texts, start, size)
        shape = self._shapes.take(_shape(texts.data, start, size, words.number[at]))
        same = text[1:] == text[:-1]
        pairs = np.flatnonzero(same)
        # What stands between two words: a space, a comma, the end of a line.
        before = np.where(np.append(False, same), np.append(0, start[:-1] + size[:-1]), start - 1)
        gap = self._hasher.rehash(texts, before, np.minimum(start - before, _SPACE_LIKE))
        named = np.where(words.number[at], shape, hashes)
        masked = np.where(self._common.take(_slot(hashes)) & ~words.number[at], hashes, shape)
        placed = chain(gap, masked)
        features = (
            named,
            chain(named[pairs], named[pairs + 1]),
            placed,
            chain(masked[pairs], placed[pairs + 1]),
        )
        # The lower half of the buckets for words as they stand, the upper half for shapes.
        buckets = [
            ((feature * _STEPS[at]) >> np.uint64(65 - BUCKETS_BITS)).view(np.int64) + at // 2 * (BUCKETS // 2)
            for at, feature in enumerate(features)
        ]
        return Features(
            np.concatenate((text, text[pairs], text, text[pairs])),
            np.concatenate(buckets),
            np.bincount(text, minlength=len(words.per_text)),
            (of_text >= _FEWEST_WORDS) & (of_text >= of_other),
        )


# Odd multipliers (splitmix64, Steele, Lea and Flood, 2014, and its neighbours), so that
# a word and a pair of words do not meet by more than chance.
_STEPS = np.array(
    [0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93], dtype=np.uint64
)


def _shape(data: Bytes, start: Ints, size: Ints, number: Any) -> Ints:
    """Class of each word: 0, 1 lower case (short, long), 2 capitalised, 3 capitals, 4, 5 numbers."""
    lead = data.take(start)
    second = data.take(start + np.minimum(size - 1, 1))
    capital = (lead - np.uint8(65)) < 26
    both = capital & ((second - np.uint8(65)) < 26) & (size > 1)
    shape = np.where(size > 6, 1, 0)
    shape[capital] = 2
    shape[both] = 3
    return np.where(number, np.where(size > 2, 5, 4), shape).astype(np.int64)


def _slot(hashes: U64) -> Ints:
    return (hashes >> np.uint64(48)).view(np.int64)
