"""Which text of an exchange is read."""

import pytest

from detectors.events import Message
from detectors.observation import ROLE_ASSISTANT, ROLE_OTHER, ROLE_TOOL, ROLE_USER
from detectors.observe.text import select


def messages(*pairs):
    return [Message(role, content) for role, content in pairs]


@pytest.mark.parametrize(
    ("given", "new", "system", "turns", "role", "why"),
    [
        ([("user", "hi")], "hi", "", 1, ROLE_USER, "one message"),
        ([("user", "a"), ("assistant", "b"), ("user", "c")], "c", "", 2, ROLE_USER, "history is not new"),
        ([("assistant", "b"), ("tool", "t"), ("user", "c")], "t\nc", "", 1, ROLE_USER, "all after an answer"),
        ([("user", "a"), ("assistant", "b"), ("tool", "t")], "t", "", 1, ROLE_TOOL, "a tool's result"),
        ([("user", "a"), ("assistant", "b")], "b", "", 1, ROLE_ASSISTANT, "an answer to be continued"),
        ([("system", "s"), ("user", "a")], "a", "s", 1, ROLE_USER, "instructions apart"),
        ([("system", "s"), ("user", "a"), ("developer", "d")], "a", "s\nd", 1, ROLE_OTHER, "in any place"),
        ([("system", "s")], "s", "s", 0, ROLE_OTHER, "instructions alone are the last message"),
        ([("user", None)], "", "", 1, ROLE_USER, "null"),
        ([("user", "")], "", "", 1, ROLE_USER, "empty"),
        ([("user", [])], "", "", 1, ROLE_USER, "no parts"),
        ([("function", "f")], "f", "", 0, ROLE_TOOL, "the old name of a tool"),
        ([("", "x")], "x", "", 0, ROLE_OTHER, "unknown roles speak, too"),
        ([("user", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])], "a\nb", "", 1, ROLE_USER,
         "parts"),
        ([("user", ["a", {"type": "image", "text": "no"}, {"text": "b"}, 7, None, {"type": "text"},
           {"type": "text", "text": 5}, {"type": ["text"], "text": "no"}])], "a\nb", "", 1, ROLE_USER,
         "parts that are not text"),
    ],
)  # fmt: skip
def test_select(given, new, system, turns, role, why):
    text = select(messages(*given), 100)
    assert (text.new, text.system, text.turns, text.role) == (new, system, turns, role), why
    assert text.chars == len(new)


@pytest.mark.parametrize(
    "given",
    [
        [("user", "x" * 50)],
        [("user", ["x" * 10, "y" * 10, "z" * 30])],
        [("user", "x" * 10), ("user", "y" * 40)],
        [("user", [""] * 51)],
    ],
)
@pytest.mark.parametrize("limit", [1, 9, 10, 11, 12, 25, 1000])
def test_read_limit_cuts_and_counts(given, limit):
    whole = select(messages(*given), 10_000)
    cut = select(messages(*given), limit)
    assert len(whole.new) == whole.chars
    assert cut.new == whole.new[:limit]
    assert cut.chars == whole.chars


def test_instructions_are_cut_likewise():
    assert select(messages(("system", "s" * 50), ("user", "u")), 20).system == "s" * 20


def test_no_more_than_the_limit_is_taken_from_a_huge_prompt():
    taken = []

    class Slices(str):
        __slots__ = ()

        def __getitem__(self, at):
            taken.append(len(str(self)[at]))
            return str(self)[at]

    huge = [Slices("x" * 1_000_000) for _ in range(10)]
    text = select(messages(("user", huge)), 8192)
    assert sum(taken) == len(text.new) == 8192
    assert text.chars == 10_000_009
