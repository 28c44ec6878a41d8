"""Division into words and their hashes, against a slow reading character by character."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.observe.words import WordHasher, chain, join
from tests.detectors.observe.samples import KEY, TEXTS

HASHER = WordHasher(KEY)

characters = st.sampled_from("aZ09 \n\0.'éßжקا–“。、，１漢か한ก\U0001f600ạἀ½\u00ad\ufeff")
strings = st.one_of(st.text(characters, max_size=30), st.text(max_size=30))


def is_sign(character):
    code = ord(character)
    return 0x80 <= code < 0xC0 or 0x2000 <= code < 0x3040 or 0xF000 <= code < 0x10000


def is_wide(character):
    code = ord(character)
    return code >= 0x800 and not 0x1E00 <= code < 0x2000 and not is_sign(character)


def words_of(text):
    """The words of a text as the documentation of `WordHasher` has it."""
    found, run = [], ""
    for character in text:
        ascii_letter = character.isascii() and character.isalnum()
        if is_wide(character):
            found += [run, character]
            run = ""
        elif ascii_letter or (not character.isascii() and not is_sign(character)):
            run += character
        else:
            found.append(run)
            run = ""
    return [word for word in [*found, run] if word]


def hashed(*texts):
    return HASHER.words(join([text.encode("utf-8", "surrogatepass") for text in texts]))


@given(st.lists(strings, min_size=1, max_size=5))
def test_words_are_those_of_the_slow_reading(texts):
    words = hashed(*texts)
    data = join([text.encode() for text in texts]).data.tobytes()
    spans = zip(words.start.tolist(), words.size.tolist(), strict=True)
    found = [data[start : start + size].decode() for start, size in spans]
    expected = [words_of(text) for text in texts]
    assert found == [word for text in expected for word in text]
    assert words.per_text.tolist() == [len(text) for text in expected]
    assert words.text.tolist() == [at for at, text in enumerate(expected) for _ in text]
    assert words.first.tolist() == [sum(map(len, expected[:at])) for at in range(len(texts))]
    assert words.number.tolist() == [word[0] in "0123456789" for word in found]
    assert words.wide.tolist() == [len(word) == 1 and is_wide(word) for word in found]


@given(st.lists(strings, min_size=1, max_size=6))
def test_hashes_do_not_depend_on_the_batch(texts):
    apart = [hashed(text).hashes.tolist() for text in texts]
    assert hashed(*texts).hashes.tolist() == [value for text in apart for value in text]


def test_ascii_case_does_not_matter():
    assert hashed("Hello WORLD").hashes.tolist() == hashed("hello world").hashes.tolist()


def test_different_words_have_different_hashes():
    words = [f"{stem}{at}" for stem in ("a", "word", "longerword", "x" * 60) for at in range(500)]
    words += ["x" * size for size in range(1, 64)]
    assert len(set(hashed(" ".join(words)).hashes.tolist())) == len(words)


def test_of_very_long_words_only_the_beginning_and_the_length_count():
    hashes = hashed("x" * 64 + "a", "x" * 64 + "b", "x" * 66, "x" * 64).hashes.tolist()
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


def test_keyed():
    text = join([b"some words to be hashed"])
    other = WordHasher(b"another key of some length")
    assert not set(HASHER.words(text).hashes.tolist()) & set(other.words(text).hashes.tolist())
    assert HASHER.number != other.number


def test_hashes_are_spread_evenly():
    hashes = hashed(" ".join(f"w{at}" for at in range(4096))).hashes
    for shift in (0, 8, 16, 24, 32, 40, 48, 56):
        counts = np.bincount((hashes >> np.uint64(shift)).astype(np.int64) & 15, minlength=16)
        assert abs(counts - 256).max() < 100  # six standard deviations


def test_order_of_a_pair_matters():
    a, b = hashed("one two").hashes[:, None]
    assert chain(a, b) != chain(b, a)


@pytest.mark.parametrize("text", TEXTS)
def test_samples_agree_with_the_slow_reading(text):
    assert hashed(text).per_text.tolist() == [len(words_of(text))]


def test_letters_of_other_alphabets_make_words():
    assert words_of("Grüße aus Köln") == ["Grüße", "aus", "Köln"]
    assert hashed("Grüße aus Köln, Привет мир").per_text.tolist() == [5]
    assert unicodedata.category("，") == "Po"
    assert hashed("天空，蓝色。").per_text.tolist() == [4]
