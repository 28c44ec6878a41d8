"""The built-in text: plenty of different prompts, people apart from one another, grammars without gaps."""

import collections
import random

import pytest

from streams.simulate import BuiltinPrompts
from streams.simulate.grammar import Grammar, grammar, lines, tables
from streams.simulate.people import _foreign, _grammar, misspell
from streams.simulate.source import CLASSES, PROBING

SOURCE = BuiltinPrompts()


def prompts_of(open_text, accounts, conversations):
    for account in range(accounts):
        text = open_text(random.Random(account))
        for _ in range(conversations):
            yield account, text.conversation(2)


@pytest.mark.parametrize("account_class", CLASSES)
def test_benign_prompts_vary(account_class):
    said = [
        turn.text
        for _, turns in prompts_of(lambda rng: SOURCE.benign(account_class, 50, rng), 100, 25)
        for turn in turns
    ]
    assert len(said) == 5000
    assert len(set(said)) > 4000
    assert all(said)


@pytest.mark.parametrize("kind", [kind for kind in SOURCE.kinds if kind != PROBING])
def test_extraction_prompts_vary(kind):
    said = [
        turn.text
        for _, turns in prompts_of(lambda rng: SOURCE.extraction(kind, [50], rng)[0], 100, 25)
        for turn in turns
    ]
    assert len(set(said)) > 4000
    assert "<<" not in "".join(said).replace("<<EOF", "")


def test_a_conversation_has_as_many_turns_as_asked_for():
    for account_class in CLASSES:
        text = SOURCE.benign(account_class, 10, random.Random(1))
        assert [len(text.conversation(turns)) for turns in (1, 2, 7)] == [1, 2, 7]
    for kind in SOURCE.kinds:
        (text,) = SOURCE.extraction(kind, [10], random.Random(1))
        assert [len(text.conversation(turns)) for turns in (1, 2, 7)] == [1, 2, 7]


def test_accounts_of_a_campaign_mostly_share_their_frame_and_not_their_items():
    texts = SOURCE.extraction("rubric_grading", [20, 20], random.Random(2))
    first, second = ([turn.text for turn in text.conversation(20)] for text in texts)
    assert not set(first) & set(second)


def test_agents_answer_with_what_tools_said():
    roles = collections.Counter(
        turn.role
        for _, turns in prompts_of(lambda rng: SOURCE.benign("agent", 9, rng), 50, 4)
        for turn in turns
    )
    assert roles["tool"] > 20
    assert roles["user"] > 200


def test_people_write_in_several_languages():
    said = " ".join(
        turn.text
        for _, turns in prompts_of(lambda rng: SOURCE.benign("person", 9, rng), 200, 2)
        for turn in turns
    )
    assert any("一" <= letter <= "鿿" for letter in said)
    assert any(word in said for word in ("Wie ", "wie "))
    assert "¿" in said


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="'robot' is unknown; use one of person"):
        SOURCE.benign("robot", 1, random.Random(1))
    with pytest.raises(ValueError, match="'theft' is unknown; use one of cot_elicitation"):
        SOURCE.extraction("theft", [1], random.Random(1))


# -- grammar -------------------------------------------------------------------------------------


def test_every_rule_of_every_grammar_can_be_said():
    bound = {"thing": "a", "thing2": "b", "issue": "c", "goal": "d"}
    draw = random.Random(5).random
    spoken = [
        (grammar("common", "customers"), ("common", "customers")),
        (grammar("common", "coding"), ("common", "coding")),
        (grammar("common", "problems", "attacks"), ("common", "problems", "attacks")),
        (grammar("common", "assistant"), ("common", "assistant")),
        (_grammar(), ("common", "people")),
    ]
    for rules, files in spoken:
        for name in {name for file in files for name in tables(file)["rules"]}:
            for _ in range(3 * rules.size(name)):
                assert rules.say(name, draw, dict(bound))
    for language in tables("people")["foreign"]:
        for _ in range(100):
            assert _foreign(language).say("frame", draw)


def test_slots_numbers_memory_and_capitals():
    rules = Grammar({"pet": ["cat"], "text": ['{x=pet} {x} {pet^} {3-3} {"json": 1}\n{not a slot}']})
    assert rules.say("text", random.Random(1).random) == 'cat cat Cat 3 {"json": 1}\n{not a slot}'


def test_what_is_bound_is_used():
    rules = Grammar({"text": ["{thing}, {thing}"]}, given=frozenset({"thing"}))
    assert rules.say("text", random.Random(1).random, {"thing": "tea"}) == "tea, tea"


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"text": ["{pett}"], "pet": ["cat"]}, "slot {pett}"),
        ({"text": ["{x} {x=pet}"], "pet": ["cat"]}, "slot {x}"),
        ({"text": []}, "no alternative"),
    ],
)
def test_gaps_in_a_grammar_are_found(rules, message):
    with pytest.raises(ValueError, match=message):
        Grammar(rules)


def test_lines_split_on_lines_and_spaced_semicolons():
    assert lines("\na ; b\nfor (;;) x;\n c\\nd\n") == ["a", "b", "for (;;) x;", "c\nd"]


def test_misspelt_text_is_close_to_the_text():
    draw = random.Random(3).random
    for _ in range(200):
        assert abs(len(misspell("how do i bake bread", 3, draw)) - 19) <= 3
    assert misspell("hi", 3, draw) == "hi"
