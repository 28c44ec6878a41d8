"""Vocabulary: growth of the stock of words against the amount of text, and what it cannot see."""

import pytest

from detectors.catalog.vocabulary import Vocabulary
from tests.detectors.streams_of_exchanges import exchanges, last_score, sample, within


def cycling(words):
    """Eight sampled words per exchange out of a stock of so many."""
    return lambda at: sample(*sorted({1 + (at * 8 + k) % words for k in range(8)}))


def usual():
    """Score with a stock of 300 words."""
    return last_score(Vocabulary(), exchanges(128, vocabulary=cycling(300)))


def test_new_words_all_the_time_score_high():
    assert last_score(Vocabulary(), exchanges(128, vocabulary=cycling(5000))) > usual() + 0.5


def test_the_same_words_all_the_time_score_low():
    assert last_score(Vocabulary(), exchanges(128, vocabulary=cycling(16))) < usual() - 1


def test_twice_the_text_at_the_usual_growth_changes_little():
    # Stock grows with the 0.6th power of the text, as Heaps' law has it.
    grown = [
        last_score(Vocabulary(), exchanges(count, vocabulary=cycling(round((count * 8) ** 0.6))))
        for count in (64, 128, 256)
    ]
    assert max(grown) - min(grown) < 0.1


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (exchanges(64), "no sampled words at all"),
        (exchanges(1, vocabulary=sample(3, 5)), "two words are no vocabulary yet"),
    ],
)
def test_vocabulary_abstains(stream, why):
    assert within(last_score(Vocabulary(), stream), None, None), why


def test_blind_spot_identifiers_count_as_words():
    identifiers = last_score(Vocabulary(), exchanges(128, vocabulary=lambda at: sample(1, 2, 3, 100 + at)))
    prose = last_score(Vocabulary(), exchanges(128, vocabulary=sample(1, 2, 3, 4)))
    assert identifiers > prose + 2
