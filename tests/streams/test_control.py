"""Decisions in files: what is appended is read, and what cannot be read is named."""

import pytest

from streams.control import ControlError, append_control, read_control
from streams.replay import SourceError
from tests.streams.decisions import T0_MS, record


def test_what_is_appended_is_read(tmp_path):
    path = tmp_path / "control.jsonl"
    append_control(path, [record()])
    append_control(path, [record("b"), record("c", "suppress", alert_kind="high_entropy")])
    made = read_control(path)
    assert len(made) == 3
    said = [made.silences(account, "high_entropy", T0_MS) for account in "abcd"]
    assert said == ["allow", "allow", "suppress", None]


def test_a_last_line_without_an_end_stays_a_line_of_its_own(tmp_path):
    path = tmp_path / "control.jsonl"
    path.write_bytes(record("a").encode())
    append_control(path, [record("b")])
    assert path.read_bytes().splitlines() == [record("a").encode(), record("b").encode()]


@pytest.mark.parametrize(
    ("name", "says"), [("control.jsonl.gz", "end in .jsonl"), ("none/control.jsonl", "No such file")]
)
def test_a_file_that_cannot_be_appended_to_is_named(tmp_path, name, says):
    with pytest.raises(ControlError, match=says):
        append_control(tmp_path / name, [record()])
    assert list(tmp_path.iterdir()) == []


def test_a_line_too_long_is_refused(tmp_path):
    path = tmp_path / "control.jsonl"
    path.write_bytes(record().encode() + b" " * 65_536 + b"\n")
    with pytest.raises(SourceError, match=r"control\.jsonl:1: .*larger than 65,536 bytes"):
        read_control(path)
