"""Learned purposes: unseen prompts of a kind are told from ordinary ones, whatever batch they come in."""

import math
import random

import numpy as np
import pytest

from detectors.catalog.purpose import LEAST
from detectors.errors import ConfigError
from detectors.fitting import purpose_limits, purpose_reach
from detectors.learning import Learner, PromptSet
from detectors.observation import PURPOSES, Observation
from detectors.observe import Observer
from detectors.observe.purpose import (
    BUCKETS,
    MOST_KINDS,
    NO_PURPOSES,
    STEPS,
    UNKNOWN,
    PurposeModel,
    PurposeReader,
)
from detectors.observe.words import WordHasher, join
from tests.detectors.observe.samples import TEXTS, exchange

EVENTS = [exchange(text) for text in TEXTS]

NAMES = ("Ann", "Bob", "Cleo", "Dov", "Eva", "Finn")
THINGS = ("apples", "books", "tickets", "marbles", "pens", "coins")


def sums(rng):
    a, b = rng.randrange(3, 90), rng.randrange(3, 90)
    return f"{rng.choice(NAMES)} has {a} {rng.choice(THINGS)} and buys {b} more. How many are there in total?"


def grades(rng):
    return f"Rate the answer below from 1 to {rng.randrange(5, 11)}.\nAnswer: {chat(rng)}\nScore:"


def chat(rng):
    doubt = rng.choice(("why", "how", "when"))
    return f"hey can you help me with my {rng.choice(THINGS)}? i am not sure {doubt}"


def mail(rng):
    return f"Please write a short email to {rng.choice(NAMES)} about the {rng.choice(THINGS)}, thanks"


def texts(make, seed, count=80):
    rng = random.Random(seed)
    return [make(rng) for _ in range(count)]


SETS = (
    PromptSet("sums-1", "", "sums", texts(sums, 1)),
    PromptSet("sums-2", "", "sums", texts(sums, 2)),
    PromptSet("grades", "", "grades", texts(grades, 3)),
    PromptSet("chat", "", "", texts(chat, 4)),
    PromptSet("mail", "", "", texts(mail, 5)),
)


@pytest.fixture(scope="module")
def learner():
    return Learner(SETS)


def read(model, given):
    joined = join([text.encode() for text in given])
    return PurposeReader(model).read(WordHasher(b"any").words(joined), joined)


def column(model, kind):
    at, kinds = model.kinds.index(kind), len(model.kinds)
    return model.bias[at], model.scale[at], model.weights[at::kinds]


def test_unseen_prompts_of_a_kind_are_told_from_ordinary_ones(learner):
    model = learner.learn()
    assert model.kinds == ("grades", "sums", "sums/sums-1", "sums/sums-2")
    unseen = read(model, texts(sums, 9)).mean(axis=0) / STEPS
    ordinary = read(model, texts(mail, 9)).mean(axis=0) / STEPS
    assert unseen[1] > 1.0
    assert max(ordinary[:2]) < -1.0


def test_a_source_left_out_is_not_learned_from(learner):
    without, never = learner.learn(without=["sums-2"]), Learner(SETS[:1] + SETS[2:]).learn()
    for kind in never.kinds:
        assert column(without, kind) == column(never, kind)
    left_out = without.kinds.index("sums/sums-2")
    assert read(without, texts(sums, 7))[:, left_out].max() < -100


def test_a_source_is_learned_apart_from_its_kind_where_the_kind_has_several(learner):
    assert Learner(SETS[1:]).kinds == ("grades", "sums")
    model = learner.learn()
    assert column(model, "sums/sums-1") != column(model, "sums/sums-2")
    assert column(model, "sums/sums-1") != column(model, "sums")


def test_shuffled_ordinary_sources_are_not_learned_apart():
    salad = [PromptSet(one.source, "", "nonsense", one.texts) for one in SETS[3:]]
    assert Learner((*SETS[3:], *salad)).kinds == ("nonsense",)


def test_too_many_sources_of_kinds_are_refused():
    many = [PromptSet(f"sums-{number}", "", "sums", texts(sums, 1, 3)) for number in range(MOST_KINDS)]
    with pytest.raises(ConfigError, match="25 kinds and sources of kinds"):
        Learner((*many, *SETS[3:]))


def test_texts_without_words_in_latin_letters_teach_nothing(learner):
    silent = PromptSet("chat", "", "", [*SETS[3].texts, "你好，世界", "", "..."])
    assert Learner((*SETS[:3], silent, *SETS[4:])).learn() == learner.learn()


def test_a_kind_without_sources_gives_no_evidence(learner):
    model = learner.learn(without=["grades"])
    found = read(model, texts(grades, 7))[:, model.kinds.index("grades")]
    assert found.max() < -100


def test_learning_is_repeatable(learner):
    assert learner.learn() == Learner(SETS).learn()


@pytest.mark.parametrize("sets", [SETS[:3], SETS[3:], ()])
def test_both_labels_are_needed(sets):
    with pytest.raises(ConfigError, match="both needed"):
        Learner(sets)


def test_reading_does_not_depend_on_the_batch_or_the_key(learner):
    model = learner.learn()
    given = ["", "你好，世界", "1 2 3", "word", "x" * 9000, *texts(sums, 6, 20), *texts(chat, 6, 20)]
    together = read(model, given)
    for number, text in enumerate(given):
        assert (read(model, [text])[0] == together[number]).all()
    rows = [Observer(key, purposes=model).observe(EVENTS)["purpose"].tobytes() for key in (b"one", b"other")]
    assert rows[0] == rows[1]


def test_texts_not_mainly_in_latin_letters_are_unknown(learner):
    found = read(
        learner.learn(), ["", "你好，世界", "请用 Python 写一个 REST API 的例子", "a few words, 例子"]
    )
    assert (found[:3] == UNKNOWN).all()
    assert (found[3, :4] != UNKNOWN).all()
    assert (found[:, 4:] == UNKNOWN).all()


def test_without_a_model_everything_is_unknown():
    assert (read(NO_PURPOSES, texts(chat, 1, 3)) == UNKNOWN).all()
    assert Observer(b"k").observe(EVENTS)["purpose"].tobytes() == bytes([128]) * PURPOSES * len(EVENTS)


def test_other_weights_are_another_fingerprint(learner):
    fingerprints = {
        Observer(b"k", purposes=model).fingerprint
        for model in (NO_PURPOSES, learner.learn(), learner.learn(without=["grades"]))
    }
    assert len(fingerprints) == 3


@pytest.mark.parametrize(
    "model",
    [
        PurposeModel(("a",), (0.0,), (1.0,), b"short"),
        PurposeModel(("a",), (), (1.0,), bytes(BUCKETS)),
        PurposeModel(("a",) * (MOST_KINDS + 1), (0.0,) * 25, (1.0,) * 25, bytes(BUCKETS * 25)),
    ],
)
def test_weights_of_another_shape_are_refused(model):
    with pytest.raises(ConfigError, match="purpose"):
        PurposeReader(model)


def account(values):
    row = np.array([*values, *[UNKNOWN] * (PURPOSES - len(values))], dtype=np.int8).tobytes()
    return [Observation("a", str(number), purpose=row) for number in range(64)]


def test_limits_lie_beyond_the_farthest_source_by_its_lead():
    reached = {
        name: [purpose_reach(account(values), 2)] * 3
        for name, values in {"a": (60, -90), "b": (50, -80), "c": (-20, -70)}.items()
    }
    three, two_and_a_half, six = (math.log(0.75 + math.exp(odds) / 4) for odds in (3.0, 2.5, 6.0))
    first, second = purpose_limits(reached, 2)
    assert first == pytest.approx(0.8 * (2 * three - two_and_a_half), rel=1e-3)  # 64 of 64 + 16 exchanges
    assert second == LEAST
    far = reached | {"d": [purpose_reach(account((120, 0)), 2)]}
    assert purpose_limits(far, 2)[0] == pytest.approx(0.8 * six + 1.0, rel=1e-3)


def test_limits_need_two_sources():
    with pytest.raises(ConfigError, match="two sources"):
        purpose_limits({"a": [(0.0,)]}, 1)


def test_a_source_apart_counts_only_if_it_recognises_another_of_its_kind():
    letters = PromptSet("letters", "", "sums", texts(mail, 8))
    alone = Learner((SETS[0], letters, *SETS[3:])).learn()
    assert read(alone, texts(sums, 9))[:, alone.kinds.index("sums/sums-1")].max() < -100
    both = Learner((*SETS[:2], letters, *SETS[3:])).learn()
    assert read(both, texts(sums, 9))[:, both.kinds.index("sums/sums-1")].min() > 40
