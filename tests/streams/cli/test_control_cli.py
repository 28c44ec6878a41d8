"""`label`, `allow`, `suppress` and `ban`: what is written where, and what is refused before anything is."""

import datetime as dt
import json
import os

import pytest
from typer.testing import CliRunner

from streams import cli
from streams.control import ControlError
from streams.settings_model import ENV_PREFIX

WHY = ["--reason", "load test"]
HOUR = dt.timedelta(hours=1)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.upper().startswith(ENV_PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def sent(monkeypatch):
    """What went to the control topic."""
    found = []

    def send(settings, records):
        found.extend(records)
        return settings.topics.control

    monkeypatch.setattr("streams.control_topic.send_control", send)
    return found


def run(*arguments):
    return CliRunner().invoke(cli.build(), [str(a) for a in arguments])


def written(result):
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def since(record, key):
    time, end = (dt.datetime.fromisoformat(record[name]) for name in ("time", key))
    return end - time


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["label", "a", "extraction", *WHY], {"kind": "label", "label": "extraction"}),
        (["label", "a", "ordinary", *WHY], {"kind": "label", "label": "ordinary"}),
        (["ban", "a", *WHY], {"kind": "ban"}),
        (["allow", "a", "--for", "7d", *WHY], {"kind": "allow", "expires": 7 * 24 * HOUR}),
        (["allow", "a", "--for", "90m", *WHY], {"kind": "allow", "expires": 1.5 * HOUR}),
        (["allow", "a", "--end", *WHY], {"kind": "allow", "expires": 0 * HOUR}),
        (["ban", "a", "--for", "2w", *WHY], {"kind": "ban", "expires": 14 * 24 * HOUR}),
        (
            ["suppress", "a", "--kind", "high_entropy", "--for", "24h", *WHY],
            {"kind": "suppress", "alert_kind": "high_entropy", "expires": 24 * HOUR},
        ),
        (
            ["allow", "a", "--for", "1h", "--owner", "bob", *WHY],
            {"owner": "bob", "kind": "allow", "expires": HOUR},
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_writes_one_record_to_the_topic_and_prints_it(sent, arguments, expected):
    before = dt.datetime.now(dt.UTC).replace(microsecond=0)
    result = run(*arguments)
    (found,) = written(result)
    assert [record.encode().decode() + "\n" for record in sent] == [result.stdout]
    assert result.stderr == "written to topic extraction.control\n"
    assert before <= dt.datetime.fromisoformat(found["time"]) <= dt.datetime.now(dt.UTC)
    if "expires" in found:
        found["expires"] = since(found, "expires")
    del found["time"]
    assert found == {
        "schema": "extraction.control/1",
        "subject": {"type": "account", "id": "a"},
        "owner": "ada",
        "reason": "load test",
        **expected,
    }


def test_several_kinds_make_several_records(sent):
    kinds = ["--kind", "high_entropy", "--kind", "benchmark_sweep", "--kind", "high_entropy"]
    found = written(run("suppress", "a", *kinds, "--for", "1h", *WHY))
    assert [record["alert_kind"] for record in found] == ["high_entropy", "benchmark_sweep"]


def test_a_file_is_made_and_appended_to_and_no_configuration_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("EXTRACTION_CONFIG", str(tmp_path / "absent.toml"))
    path = tmp_path / "control.jsonl"
    first = run("allow", "a", "--for", "7d", "--from", "2026-03-01T00:00:00Z", "--control", path, *WHY)
    second = run("label", "a", "ordinary", "--control", path, *WHY)
    assert path.read_text() == first.stdout + second.stdout
    assert (first.stderr, second.stderr) == (f"written to {path}\n", f"written to {path}\n")
    (found,) = written(first)
    assert (found["time"], found["expires"]) == ("2026-03-01T00:00:00Z", "2026-03-08T00:00:00Z")


def test_an_absolute_end_is_kept(tmp_path):
    times = ["--from", "2026-03-01T00:00:00+01:00", "--expires", "2026-03-02T00:00:00+01:00"]
    (found,) = written(run("allow", "a", *times, "--control", tmp_path / "c.jsonl", *WHY))
    assert since(found, "expires") == 24 * HOUR


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["allow", "a", "--for", "1h"], "--reason"),
        (["allow", "a", "--for", "1h", "--reason", " "], "`reason` must have 1 to 1024"),
        (["allow", "a", "--for", "1h", "--owner", "", *WHY], "`owner` must have 1 to 1024"),
        (["allow", "", "--for", "1h", *WHY], "`subject.id` must have 1 to 1024"),
        (["allow", "\udcff", "--for", "1h", *WHY], "valid Unicode"),
        (["allow", "a", *WHY], "give one of --for, --expires and --end"),
        (["allow", "a", "--for", "1h", "--end", *WHY], "give only one of --for"),
        (["ban", "a", "--for", "1h", "--expires", "2099-01-01T00:00:00Z", *WHY], "give only one of --for"),
        (["allow", "a", "--for", "1", *WHY], "give a duration such as"),
        (["allow", "a", "--for", "0h", *WHY], "give a duration such as"),
        (["allow", "a", "--for", "-1h", *WHY], "give a duration such as"),
        (["allow", "a", "--for", "1.5h", *WHY], "give a duration such as"),
        (["allow", "a", "--for", "999999w", *WHY], "give a duration such as"),
        (["allow", "a", "--expires", "tomorrow", *WHY], "give a time such as"),
        (["allow", "a", "--expires", "2099-01-01T00:00:00", *WHY], "give a time such as"),
        (["allow", "a", "--expires", "2026-01-01T00:00:00Z", *WHY], "to lift what holds, give --end"),
        (["allow", "a", "--for", "1h", "--from", "2026-01-01T00:00:00Z", *WHY], "--from is for --control"),
        (["suppress", "a", "--for", "1h", *WHY], "--kind"),
        (["suppress", "a", "--kind", "weather", "--for", "1h", *WHY], "`alert_kind` must be one of"),
        (["suppress", "a", "--kind", "high_entropy", *WHY], "give one of --for"),
        (["label", "a", "benign", *WHY], "benign"),
        (["label", "a", *WHY], "Missing argument"),
    ],
    ids=lambda value: " ".join(value).encode("ascii", "replace").decode() if isinstance(value, list) else "",
)
def test_bad_usage_is_2_and_writes_nothing(sent, tmp_path, arguments, says):
    results = [run(*arguments)]
    if "--from" not in arguments:
        results.append(run(*arguments, "--control", tmp_path / "control.jsonl"))
    for result in results:
        assert result.exit_code == 2
        assert says in result.stderr
        assert result.stdout == ""
    assert sent == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyError("uid not found: 1234"), OSError("no user")])
def test_a_user_without_a_name_must_say_who_decides(sent, monkeypatch, error):
    def nobody():
        raise error

    monkeypatch.setattr("getpass.getuser", nobody)
    result = run("ban", "a", *WHY)
    assert result.exit_code == 2
    assert "--owner" in result.stderr
    assert written(run("ban", "a", "--owner", "ci", *WHY))[0]["owner"] == "ci"


def test_what_could_not_be_written_is_1_and_not_printed(monkeypatch, tmp_path):
    def refuse(*_):
        raise ControlError("topic 'extraction.control': the broker took 0 of 1 records")

    monkeypatch.setattr("streams.control_topic.send_control", refuse)
    for more in ([], ["--control", tmp_path / "control.csv"], ["--control", tmp_path / "no" / "c.jsonl"]):
        result = run("ban", "a", *WHY, *more)
        assert result.exit_code == 1
        assert result.stdout == ""
        assert len(result.stderr.splitlines()) == 1
