"""Byte statistics, against arithmetic in plain Python."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.observe.shape import ShapeReader
from detectors.observe.words import join
from tests.detectors.observe.samples import TEXTS

READER = ShapeReader()


def read(*texts):
    return READER.read(join(list(texts)))


def slow(text):
    """Entropy and shares of one text, byte by byte."""
    size = len(text)
    counts = Counter(text)
    entropy = -sum(count / size * math.log2(count / size) for count in counts.values())
    kinds = [
        lambda byte: chr(byte).isdigit(),
        lambda byte: chr(byte).isupper(),
        lambda byte: chr(byte).isprintable() and byte != 32 and not chr(byte).isalnum(),
        lambda byte: byte == 10,
    ]
    ascii_only = [byte for byte in text if byte < 128]
    return [entropy, *(sum(map(kind, ascii_only)) / size for kind in kinds)]


@pytest.mark.parametrize("text", [text for text in TEXTS if text])
def test_samples(text):
    found = [values[0] for values in read(text.encode())]
    assert found == pytest.approx(slow(text.encode()), abs=2e-6)


@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=4))
def test_any_bytes_in_any_batch(texts):
    together = np.array(read(*texts))
    for at, text in enumerate(texts):
        assert together[:, at].tolist() == pytest.approx(slow(text), abs=2e-6)
        assert together[:, at].tobytes() == np.array(read(text))[:, 0].tobytes()


@pytest.mark.parametrize(
    ("text", "entropy"),
    [
        (b"aaaa", 0.0),
        (b"abab", 1.0),
        (b"abcd", 2.0),
        (bytes(range(256)), 8.0),
        (bytes(range(256)) * 300, 8.0),
    ],
)
def test_known_entropies(text, entropy):
    assert read(text).entropy[0] == pytest.approx(entropy, abs=1e-6)


def test_empty_texts_have_no_shape():
    for values in read(b"", b"a", b""):
        assert np.isnan(values).tolist() == [True, False, True]
