"""Sketches: near duplicates are near, strangers are far, samples are consistent."""

import statistics

import numpy as np
import pytest

from tests.detectors.observe.samples import exchange, observer, prose, row, same


def rows(texts):
    return observer().observe([exchange(text) for text in texts])


def distance(left, right):
    """Bits in which two near-duplicate hashes differ."""
    return (int(left["simhash"]) ^ int(right["simhash"])).bit_count()


def sketch(found):
    return np.frombuffer(found["sketch"].tobytes(), dtype=np.int8).astype(float)


def cosine(left, right):
    left, right = sketch(left), sketch(right)
    return left @ right / np.linalg.norm(left) / np.linalg.norm(right)


def sample(found):
    """Sampled words of one row."""
    return set(np.frombuffer(found["vocabulary"].tobytes(), dtype="<u2").tolist()) - {0}


def edited(text, every):
    """The text with every so manyth word replaced."""
    return " ".join(f"q{at}z" if at % every == 5 else word for at, word in enumerate(text.split()))


def test_near_duplicates_differ_in_few_bits_and_strangers_in_half():
    texts = [prose(seed) for seed in range(40)]
    originals = rows(texts)
    near = [distance(a, b) for a, b in zip(originals, rows([edited(t, 40) for t in texts]), strict=True)]
    far = [distance(originals[i], originals[j]) for i in range(40) for j in range(i)]
    assert statistics.mean(near) < 10
    assert 30 < statistics.mean(far) < 34
    assert max(near) < min(far) + 10


def test_sketches_tell_how_alike_texts_are():
    texts = [prose(seed) for seed in range(20)]
    originals, changed = rows(texts), rows([edited(text, 10) for text in texts])
    alike = [cosine(a, b) for a, b in zip(originals, changed, strict=True)]
    strangers = [cosine(originals[i], originals[i - 1]) for i in range(20)]
    assert statistics.mean(alike) > 0.7
    assert abs(statistics.mean(strangers)) < 0.15
    assert all(120 < np.linalg.norm(sketch(found)) < 134 for found in originals)


@pytest.mark.parametrize("words", [1, 2, 5])
def test_strangers_of_few_words_do_not_look_alike(words):
    found = rows([prose(seed, words) for seed in range(60)])
    far = [distance(found[i], found[j]) for i in range(60) for j in range(i)]
    assert 30 < statistics.mean(far) < 34
    assert len(set(found["bucket"].tolist())) > 55


def test_buckets_are_within_bounds_and_spread():
    buckets = rows([prose(seed, 40) for seed in range(400)])["bucket"]
    assert buckets.max() < 4096
    assert len(set(buckets.tolist())) > 300


def test_order_of_words_changes_the_sketch_through_pairs_only():
    words = prose(1).split()
    straight, backwards = row(" ".join(words)), row(" ".join(reversed(words)))
    assert 0.2 < cosine(straight, backwards) < 0.9
    assert same(straight["vocabulary"], backwards["vocabulary"])


def test_words_that_say_nothing_do_not_move_the_topic():
    plain = "photosynthesis converts sunlight chlorophyll"
    wrapped = "what is it that these would photosynthesis converts sunlight chlorophyll or not"
    assert same(row(plain)["sketch"], row(wrapped)["sketch"])


def test_a_text_of_such_words_alone_is_still_sketched():
    first, second = row("what is it"), row("who am i to you")
    assert first["simhash"] != 0 != second["simhash"]
    assert not same(first["sketch"], second["sketch"])


@pytest.mark.parametrize("text", ["", "?!", "\n"])
def test_texts_without_words_have_no_topic(text):
    found = row(text)
    assert found["simhash"] == found["bucket"] == 0
    assert not any(found["sketch"].tobytes())
    assert not any(found["vocabulary"].tobytes())


class TestVocabulary:
    def test_a_word_is_sampled_in_every_text_or_in_none(self):
        words = [f"word{at}" for at in range(200)]
        alone = [word for word, found in zip(words, rows(words), strict=True) if sample(found)]
        assert 8 < len(alone) < 50  # one in eight
        expected = set().union(*(sample(found) for found in rows(alone)))
        for start in range(0, 200, 20):
            part = words[start : start + 20]
            picked = sample(row(" ".join(part)))
            assert len(picked) == len(set(part) & set(alone))
            assert picked <= expected

    def test_repeated_words_count_once(self):
        assert same(row("alpha beta gamma " * 50)["vocabulary"], row("alpha beta gamma")["vocabulary"])

    def test_at_most_sixteen_are_kept_the_same_ones_in_any_order(self):
        words = [f"term{at}" for at in range(400)]
        forward, backward = row(" ".join(words)), row(" ".join(reversed(words)))
        assert len(sample(forward)) == 16
        assert same(forward["vocabulary"], backward["vocabulary"])
