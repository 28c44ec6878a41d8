"""Decisions in files: what is appended is read, and what cannot be read is named."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from detectors.control import Control
from streams import cli
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


def test_the_page_about_it_says_what_is_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs/control.md").read_text()
    (example,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert f"`{Control.decode(example.encode()).key}`" in page
    commands = [shlex.split(line)[1:] for line in re.findall(r"^extraction-detector .*", page, re.MULTILINE)]
    told = [command for command in commands if command[0] != "replay"]
    assert len(told) == 6
    for command in told:
        more = [] if "--control" in command else ["--control", "control.jsonl"]
        result = CliRunner().invoke(cli.build(), [*command, *more])
        assert result.exit_code == 0, result.output
    assert len(read_control(tmp_path / "control.jsonl")) == 6
