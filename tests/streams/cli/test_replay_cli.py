"""`replay` and `evaluate` on the command line: what goes where, and exit codes 0, 1 and 2."""

import gzip
import json
import os
import re

import pytest
from typer.testing import CliRunner

from streams import cli
from streams.settings_model import ENV_PREFIX
from tests.integration.traffic import make_events
from tests.streams.stub_engine import Third

EVENTS = make_events(11, ordinary=5, graders=2, each=50)
CONTENT = b"".join(value + b"\n" for _, value in EVENTS)
ENVIRONMENT = {"EXTRACTION_HASH_KEY": "a secret of more than sixteen bytes"}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in list(os.environ):
        if name.upper().startswith(ENV_PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture
def counting(monkeypatch):
    """Alerts that do not hang on how the detectors are tuned."""
    monkeypatch.setattr("streams.offline.build_engine", lambda *_: Third())


def run(*arguments, stdin=None):
    return CliRunner().invoke(cli.build(), [str(a) for a in arguments], env=ENVIRONMENT, input=stdin)


@pytest.fixture
def events(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def labels(tmp_path):
    path = tmp_path / "labels.csv"
    accounts = sorted({account for account, _ in EVENTS})
    lines = [f"{a},{'extraction,overt' if a.startswith('grader') else 'benign,person'}," for a in accounts]
    path.write_text("\n".join(["account_id,label,kind,campaign", *lines, ""]))
    return path


def test_alerts_go_to_standard_output_and_the_summary_to_the_other(counting, events):
    result = run("replay", events)
    assert result.exit_code == 0, result.output
    alerts = [json.loads(line) for line in result.stdout.splitlines()]
    keys = [(alert["time"], alert["alert_id"]) for alert in alerts]
    assert keys == sorted(keys)
    assert {alert["schema"] for alert in alerts} == {"extraction.alert/1"}
    count = len(alerts)
    assert (
        f"{len(EVENTS)} records read, 0 refused; {count} alerts on 7 accounts (third {count})"
        in result.stderr
    )


def test_alerts_go_to_a_file_where_asked(counting, events, tmp_path):
    out = tmp_path / "alerts.jsonl"
    result = run("replay", events, "--alerts", out)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert out.read_bytes() == run("replay", events).stdout_bytes


def test_the_detectors_themselves_run(events):
    result = run("replay", events)
    assert result.exit_code == 0, result.output
    assert f"{len(EVENTS)} records read, 0 refused; " in result.stderr


def test_packed_and_piped_events_give_the_same_alerts(counting, events, tmp_path):
    packed = tmp_path / "events.jsonl.gz"
    packed.write_bytes(gzip.compress(CONTENT))
    plain = run("replay", events)

    def ids(result):
        assert result.exit_code == 0, result.output
        return [json.loads(line)["alert_id"] for line in result.stdout.splitlines()]

    assert ids(run("replay", packed)) == ids(run("replay", "-", stdin=CONTENT)) == ids(plain)


def test_refused_records_are_counted_by_reason_and_are_no_failure(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"no json\n{}\nno json\n" + CONTENT)
    result = run("replay", path)
    assert result.exit_code == 0, result.output
    assert f"{len(EVENTS) + 3} records read, 3 refused (missing_field 1, not_json 2); " in result.stderr


def test_of_a_damaged_file_what_could_be_read_is_reported(counting, tmp_path):
    path, out = tmp_path / "events.jsonl.gz", tmp_path / "alerts.jsonl"
    path.write_bytes(gzip.compress(CONTENT)[:-8])
    result = run("replay", path, "--alerts", out)
    assert result.exit_code == 1
    (read,) = re.findall(r"(\d+) records read", result.stderr)
    assert f"damaged or cut off after line {read}:" in result.stderr
    # Half of the events at least; the rest may be in a block that cannot be checked.
    assert len(out.read_bytes().splitlines()) > len(EVENTS) // 2 // 3 - 7
    assert "Traceback" not in result.output


def decision(kind="allow", account="grader-000", time="2026-02-01T00:00:00Z", **more):
    fixed = {"schema": "extraction.control/1", "owner": "ada", "reason": "an evaluation of ours"}
    subject = {"type": "account", "id": account}
    return {
        **fixed,
        "kind": kind,
        "subject": subject,
        "time": time,
        "expires": "2026-05-01T00:00:00Z",
        **more,
    }


@pytest.fixture
def decided(tmp_path):
    """Writes decisions to a file."""

    def write(*records):
        path = tmp_path / "control.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return path

    return write


def found(result):
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_decisions_silence_alerts_while_they_hold_and_change_no_other(events, decided):
    plain = found(run("replay", events))
    kinds = {alert["kind"] for alert in plain if alert["subject"]["id"] == "grader-001"}
    assert {"grader-000", "grader-001"} <= {alert["subject"]["id"] for alert in plain}
    control = decided(
        decision(),
        *(decision("suppress", "grader-001", alert_kind=kind) for kind in sorted(kinds)),
        decision("label", "person-002", label="extraction"),
    )
    result = run("replay", events, "--control", control)
    rest = [alert for alert in plain if not alert["subject"]["id"].startswith("grader")]
    assert found(result) == rest
    assert re.search(r"silenced \(allow \d+, suppress \d+\)", result.stderr)


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ([], "an empty file"),
        ([decision(expires="2026-02-02T00:00:00Z")], "it has expired"),
        ([decision(time="2026-04-01T00:00:00Z")], "it is not yet made"),
        (
            [decision(time="2026-02-02T00:00:00Z", expires="2026-02-02T00:00:00Z"), decision()],
            "it was lifted",
        ),
        ([decision("suppress", alert_kind="benchmark_sweep")], "it is about another kind"),
    ],
)
def test_decisions_that_do_not_hold_silence_nothing(events, decided, records, why):
    result = run("replay", events, "--control", decided(*records))
    assert found(result) == found(run("replay", events)), why
    assert "silenced" not in result.stderr


def test_a_file_of_decisions_that_cannot_be_read_is_1_and_names_the_line(events, decided, tmp_path):
    broken = decision(expires="2026-02-02T00:00:00")
    result = run("replay", events, "--control", decided(decision(), broken))
    assert result.exit_code == 1
    assert "control.jsonl:2: control record: `expires` must have an offset" in result.stderr
    assert result.stdout == ""
    assert run("replay", events, "--control", tmp_path / "absent.jsonl").exit_code == 1


@pytest.mark.parametrize(
    ("name", "says"),
    [("absent.jsonl", "No such file"), ("events.csv", "unknown ending"), ("dir.jsonl", "Is a directory")],
)
@pytest.mark.parametrize("command", ["replay", "evaluate"])
def test_a_source_that_cannot_be_read_is_1(tmp_path, labels, command, name, says):
    (tmp_path / "events.csv").touch()
    (tmp_path / "dir.jsonl").mkdir()
    result = run(command, tmp_path / name, *(["--labels", labels] if command == "evaluate" else []))
    assert result.exit_code == 1
    assert says in result.stderr
    assert str(tmp_path / name) in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["replay"], "Missing argument"),
        (["replay", "x.jsonl", "--alerts", "nowhere/alerts.jsonl"], "is not a directory"),
        (["replay", "x.jsonl", "--alerts", "."], "is a directory"),
        (["replay", "x.jsonl", "--config", "absent.toml"], "absent.toml"),
        (["evaluate", "x.jsonl"], "--labels"),
        (["evaluate", "x.jsonl", "--labels", "l.csv", "--output", "xml"], "xml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_usage_is_2(tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_evaluate_reports_by_kind(events, labels):
    result = run("evaluate", events, "--labels", labels)
    assert result.exit_code == 0, result.output
    head, *lines = result.stdout.splitlines()
    assert head.split()[:3] == ["label", "kind", "accounts"]
    assert [line.split()[:3] for line in lines] == [
        ["extraction", "all", "2"],
        ["extraction", "overt", "2"],
        ["benign", "all", "5"],
        ["benign", "person", "5"],
    ]
    assert "until its first alert" in result.stderr


def test_evaluate_agrees_with_the_alerts_of_replay(counting, events, labels):
    events.write_bytes(b"".join(value + b"\n" for account, value in EVENTS if account != "grader-000"))
    found = json.loads(run("evaluate", events, "--labels", labels, "--output", "json").stdout)
    alerts = [json.loads(line) for line in run("replay", events).stdout.splitlines()]
    alerted = {alert["subject"]["id"] for alert in alerts}
    for row in found:
        prefix = "grader" if row["label"] == "extraction" else "person"
        assert row["alerted"] == sum(account.startswith(prefix) for account in alerted)
        assert row["median_exchanges"] == 3
    assert [row["alerted"] for row in found] == [1, 1, 5, 5]


@pytest.mark.parametrize("content", [None, "account_id,label\n", "account_id,label,kind\na,evil,x\n"])
def test_unusable_labels_are_1(events, tmp_path, content):
    path = tmp_path / "labels.csv"
    if content is not None:
        path.write_text(content)
    result = run("evaluate", events, "--labels", path)
    assert result.exit_code == 1
    assert str(path) in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["kafka://requests", "kafka://other"], "give one topic"),
        (["kafka://"], "give one topic"),
        (["kafka://requests", "events.jsonl"], "give one topic"),
        (["events.jsonl", "--from", "2026-03-01"], "only of a topic"),
        (["kafka://requests", "--from", "yesterday"], "'yesterday' is no time"),
        (["kafka://requests", "--from", "2026-03-02", "--to", "2026-03-01"], "is not after"),
    ],
)
def test_sources_and_times_that_make_no_sense_are_refused(arguments, said):
    result = run("replay", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
