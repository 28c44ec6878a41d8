"""Prompt files: what is read, how it is dealt out, and what is said about bad ones."""

import gzip
import itertools
import json
import random

import pytest

from streams.simulate import FilePrompts, Limits, PromptFileError
from tests.streams.simulate.prompt_files import row, small_folder, write


@pytest.fixture
def prompts(tmp_path):
    return FilePrompts(small_folder(tmp_path))


def texts(text, count):
    return [turn.text for turn in text.conversation(count)]


def test_classes_and_kinds_come_from_the_rows(prompts):
    assert prompts.classes == ("person", "templated", "batch", "agent")
    assert prompts.kinds == ("cot_elicitation", "rubric_grading")


def test_other_abuse_only_on_request(tmp_path):
    folder = small_folder(tmp_path)
    assert "other_abuse" not in FilePrompts(folder).classes
    asked = FilePrompts(folder, other_abuse=True)
    assert asked.classes[-1] == "other_abuse"
    assert texts(asked.run().benign("other_abuse", 1, random.Random(1)), 1)[0].startswith("ignore rule")


def test_unknown_benign_kinds_are_people(tmp_path):
    write(tmp_path / "new.jsonl.gz", [row("new", "benign", "poetry_slam", "roses")])
    assert FilePrompts(tmp_path).classes == ("person",)


def test_order_and_conversations_are_kept(tmp_path):
    rows = [
        row("s", "benign", "human_chat", f"{c}.{t}", conversation=f"c{c}", turn=t)
        for c in range(20)
        for t in range(3)
    ]
    write(tmp_path / "a.jsonl.gz", rows)
    for seed in range(10):
        said = texts(FilePrompts(tmp_path).run().benign("person", 9, random.Random(seed)), 9)
        assert [text.partition(".")[2] for text in said] == ["0", "1", "2"] * 3
        assert all(len({text.partition(".")[0] for text in said[at : at + 3]}) == 1 for at in (0, 3, 6))


def test_one_persons_prompts_stay_with_one_account(tmp_path):
    users = ["ann", "bob", "cy", "di"]
    rows = [row("s", "benign", "human_chat", f"{users[n % 4]} {n}", user=users[n % 4]) for n in range(80)]
    write(tmp_path / "a.jsonl.gz", rows)
    for seed in range(10):
        said = texts(FilePrompts(tmp_path).run().benign("person", 20, random.Random(seed)), 20)
        assert len({text.split()[0] for text in said}) == 1
        assert [int(text.split()[1]) for text in said] == sorted(int(text.split()[1]) for text in said)


def test_a_templated_account_gets_one_template(tmp_path):
    rows = [
        row("s", "benign", "templated_customer", f"t{n // 25} {n}", group=f"t{n // 25}") for n in range(100)
    ]
    write(tmp_path / "a.jsonl.gz", rows)
    run = FilePrompts(tmp_path).run()
    seen = [texts(run.benign("templated", 25, random.Random(seed)), 25) for seed in range(4)]
    assert sorted(len({text.split()[0] for text in said}) for said in seen)[:2] == [1, 1]
    assert len({text for said in seen for text in said}) == 100


def test_topics_in_random_order_are_not_templates(tmp_path):
    rows = [row("s", "benign", "customer_utterance", f"u{n}", group=f"intent{n * 7 % 5}") for n in range(100)]
    write(tmp_path / "a.jsonl.gz", rows)
    said = texts(FilePrompts(tmp_path).run().benign("templated", 30, random.Random(1)), 30)
    assert len({int(text[1:]) * 7 % 5 for text in said}) == 5


def test_tool_answers_have_the_role_of_tools(prompts):
    said = prompts.run().benign("agent", 10, random.Random(1)).conversation(10)
    assert [turn.role for turn in said] == ["user", "tool", "tool", "tool", "tool"] * 2
    assert said[0].system == "You fix code."


def test_nothing_is_dealt_twice_before_all_was_dealt(prompts):
    run = prompts.run()
    first = [texts(text, 20) for text in run.extraction("cot_elicitation", [20, 20, 20], random.Random(1))]
    said = [text for account in first for text in account]
    assert len(set(said)) == 60
    assert run.reused == {}
    again = run.extraction("cot_elicitation", [30], random.Random(2))
    assert set(texts(again[0], 30)) <= set(said)
    assert run.reused == {"sums": 1}


def test_campaigns_are_slices_or_dealt_like_cards(prompts):
    numbers = []
    for seed in range(12):
        texts_of = prompts.run().extraction("cot_elicitation", [10, 5], random.Random(seed))
        numbers.append(
            [
                [int(t.split()[1].rstrip(":")) for t in texts(x, n)]
                for x, n in zip(texts_of, (10, 5), strict=True)
            ]
        )
    steps = {tuple(sorted({b - a for a, b in itertools.pairwise(first)})) for first, _ in numbers}
    assert (1,) in steps  # one after the other
    assert (1, 2) in steps or (2,) in steps  # every other one, until the smaller account has enough
    assert any(len(found) > 3 for found in steps)  # from anywhere


def test_a_run_does_not_remember_another(prompts):
    deal = [texts(prompts.run().benign("batch", 30, random.Random(4)), 30) for _ in range(2)]
    assert deal[0] == deal[1]


def test_memory_is_bounded(tmp_path):
    folder = small_folder(tmp_path)
    limited = FilePrompts(folder, limits=Limits(rows=10, text_chars=7, total_chars=100_000))
    assert limited.left_out["sums"] == 50
    assert {len(text) for text in texts(limited.run().benign("batch", 10, random.Random(1)), 10)} <= {6, 7}
    tight = FilePrompts(folder, limits=Limits(rows=1000, text_chars=1000, total_chars=2000))
    assert sum(tight.left_out.values()) > 200


# -- bad files -----------------------------------------------------------------------------------

GOOD = json.dumps(row("s", "benign", "human_chat", "hello")) + "\n"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{nonsense\n", "not JSON"),
        ('["a"]\n', "Expected `object`"),
        (json.dumps({"source": "s", "label": "benign", "kind": "k"}) + "\n", "required field `text`"),
        (json.dumps(row("s", "evil", "k", "t")) + "\n", "$.label"),
        (json.dumps(row("s", "benign", "k", None)) + "\n", "$.text"),
        (json.dumps(row("", "benign", "k", "t")) + "\n", "must not be empty"),
        (json.dumps(row("s", "benign", "k", "x" * (5 << 20))) + "\n", "longer than"),
    ],
)
def test_bad_line_is_named(tmp_path, line, says):
    path = tmp_path / "bad.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.write(GOOD * 2 + "\n" + line)
    with pytest.raises(PromptFileError) as caught:
        FilePrompts(tmp_path)
    assert str(caught.value).startswith(f"{path}:4: ")
    assert says in str(caught.value)


def test_text_that_is_not_utf8_is_named(tmp_path):
    with gzip.open(tmp_path / "bad.jsonl.gz", "wb") as file:
        file.write(GOOD.encode() + GOOD.encode().replace(b"hello", b"\xff\xfe"))
    with pytest.raises(PromptFileError, match=r"bad\.jsonl\.gz:2: "):
        FilePrompts(tmp_path)


def test_cut_off_file_is_named(tmp_path):
    path = write(
        tmp_path / "cut.jsonl.gz",
        [row("s", "benign", "human_chat", str(random.Random(n).random())) for n in range(500)],
    )
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(PromptFileError, match=r"cut\.jsonl\.gz: damaged or not gzip after line \d+"):
        FilePrompts(tmp_path)


def test_what_is_no_gzip_is_named(tmp_path):
    (tmp_path / "plain.jsonl.gz").write_text(GOOD)
    with pytest.raises(PromptFileError, match=r"plain\.jsonl\.gz: damaged or not gzip after line 0"):
        FilePrompts(tmp_path)


def test_folders_without_prompts_are_refused(tmp_path):
    with pytest.raises(PromptFileError, match="no such folder"):
        FilePrompts(tmp_path / "none")
    with pytest.raises(PromptFileError, match="holds no"):
        FilePrompts(tmp_path)
    write(tmp_path / "bad.jsonl.gz", [row("s", "other_abuse", "jailbreak", "t")])
    with pytest.raises(PromptFileError, match="hold no prompts"):
        FilePrompts(tmp_path)
