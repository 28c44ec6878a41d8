"""Prefix, suffix and layout: what a template leaves the same, and what differs where it should."""

import pytest

from tests.detectors.observe.samples import row

TEMPLATE = "Classify the ticket {n} below.\nTicket: {slot}\nAnswer only with the label."


def frame(text):
    found = row(text)
    return {name: int(found[name]) for name in ("prefix", "suffix", "layout")}


def equal_parts(left, right):
    left, right = frame(left), frame(right)
    return {name for name in left if left[name] == right[name]}


def test_a_template_keeps_its_frame_while_its_slots_change():
    first = row(TEMPLATE.format(n=17, slot="The printer is on fire"))
    second = row(TEMPLATE.format(n=4, slot="My invoice shows the wrong address, again"))
    for name in ("prefix", "suffix", "layout"):
        assert first[name] == second[name] != 0
    assert first["prompt"] != second["prompt"]


@pytest.mark.parametrize(
    ("left", "right", "equal", "why"),
    [
        ("one two three four five", "one two three four six", {"prefix", "layout"}, "the end differs"),
        ("zero two three four five", "one two three four five", {"suffix"}, "the beginning differs"),
        ("a b\nc d", "a b\ne d", set(), "another line opener"),
        ("a b b b b b\nc d d d d", "a b b b x b\nc d d d d", {"prefix", "suffix", "layout"}, "the middle"),
        ("Case 1 is 22 of 333", "case 9999 is 8 of 0", {"prefix", "suffix", "layout"}, "numbers and case"),
        ("1 + 2 = 3", "17 * 4 / 2", {"prefix", "suffix", "layout"}, "nothing but three numbers"),
        ("one two three", "three two one", set(), "order counts"),
        ("one", "one two", {"layout"}, "fewer words are another frame"),
        ("a\n\n\nb", "a\nb", {"prefix", "suffix", "layout"}, "empty lines have no first word"),
        ("- a b\n- c d", "* a b\n* c d", {"prefix", "suffix", "layout"}, "signs are no words"),
        ("请逐步解释天空", "请逐步解释大海", {"prefix", "layout"}, "characters are words"),
    ],
)
def test_what_counts(left, right, equal, why):
    assert equal_parts(left, right) == equal, why


def test_lines_beyond_the_sixteenth_do_not_count():
    lines = [f"word{chr(97 + at)} x y z w" for at in range(20)]
    changed = [*lines[:16], "other x y z w", *lines[17:]]
    assert equal_parts("\n".join(lines), "\n".join(changed)) == {"prefix", "suffix", "layout"}
    changed = [*lines[:15], "other x y z w", *lines[16:]]
    assert equal_parts("\n".join(lines), "\n".join(changed)) == {"prefix", "suffix"}


@pytest.mark.parametrize("text", ["", " ", "\n\n", "?!", "…"])
def test_texts_without_words_have_no_frame(text):
    assert frame(text) == {"prefix": 0, "suffix": 0, "layout": 0}
