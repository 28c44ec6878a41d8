"""The command line: what help teaches, exit codes, and errors in one message."""

import json
import os
import signal
import subprocess
import sys
import tomllib

import pytest
from typer.testing import CliRunner

import detectors
from detectors.errors import ConfigError, DetectorError
from streams import cli
from streams.errors import BrokerUnreachable, Problem, StreamsError
from streams.settings_model import ENV_PREFIX
from streams.topics import Cluster, CreateReport, plan

KEY = "a secret of more than sixteen bytes"
DEFAULTS = {"EXTRACTION_HASH_KEY": KEY}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in list(os.environ):
        if name.upper().startswith(ENV_PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture
def run():
    def call(*arguments, env=None):
        return CliRunner().invoke(cli.build(), [str(a) for a in arguments], env={**DEFAULTS, **(env or {})})

    return call


@pytest.fixture
def cluster(monkeypatch):
    """A cluster that answers without a broker; tests put into it what is wrong."""

    class Fake:
        problems: list[Problem] = []  # noqa: RUF012 - replaced, never changed
        unreachable = False
        report = None

        def ask(self, *_, **__):
            if self.unreachable:
                raise BrokerUnreachable("kafka.example.net:9092", "connection refused")

    fake = Fake()
    monkeypatch.setattr(
        "streams.topics.reach", lambda *a, **k: (fake.ask(), Cluster({1: "kafka.example.net:9092"}, {}))[1]
    )
    monkeypatch.setattr("streams.topics.check", lambda *a, **k: (fake.ask(), fake.problems)[1])
    monkeypatch.setattr("streams.topics.create", lambda *a, **k: (fake.ask(), fake.report)[1])
    return fake


# -- help ------------------------------------------------------------------------------------------


def test_help_lists_every_command_in_order(run):
    result = run("--help")
    assert result.exit_code == 0
    listed = result.stdout.partition("Commands:")[2].split("\n")
    assert [line.split()[0] for line in listed if line.strip()] == list(cli.COMMANDS)


@pytest.mark.parametrize(
    "command", [["topics", "create"], ["topics", "check"], ["check"], ["version"], []], ids=" ".join
)
def test_help_teaches_by_example_on_lines_of_their_own(run, command):
    result = run(*command, "--help")
    assert result.exit_code == 0
    examples = [line for line in result.stdout.split("\n") if "extraction-detector " in line]
    assert any(" ".join(["extraction-detector", *command]) in line for line in examples[1:])


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help(run, command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert len(result.stdout.split("\n")[2].strip()) > 20


def test_without_arguments_help_is_shown_as_bad_usage(run):
    result = run()
    assert result.exit_code == 2
    assert "Commands:" in result.output


def test_help_loads_none_of_the_heavy_libraries():
    heavy = "{'faust', 'river', 'numpy', 'confluent_kafka', 'pydantic', 'aiokafka', 'scipy'}"
    code = f"import sys, streams.cli; streams.cli.build(); print({heavy} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "set()"


def test_versions(run):
    assert run("--version").stdout == f"extraction-detector {detectors.__version__}\n"
    told = json.loads(run("version", "--output", "json").stdout)
    assert told["extraction-detector"] == detectors.__version__
    assert {"python", "faust-streaming", "river", "librdkafka"} <= told.keys()
    assert detectors.__version__ in run("version").stdout


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [["bogus"], ["check", "--bogus"], ["check", "--output", "xml"], ["--log-level", "loud", "version"]],
    ids=" ".join,
)
def test_bad_usage_is_2(run, arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Error:" in result.stderr


@pytest.mark.parametrize(
    "command", [["check"], ["topics", "check"], ["topics", "create"], ["worker"]], ids=" ".join
)
def test_a_bad_configuration_is_2_with_every_problem(run, tmp_path, command):
    config = tmp_path / "c.toml"
    config.write_text("[ingest]\nfetch = 'many'\nlinger = 1\n")
    result = run(*command, "--config", config)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "2 problems" in result.stderr
    assert "ingest.fetch" in result.stderr
    assert "ingest.linger_ms" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("profile x: no such signal"), 2),
        (DetectorError("state is damaged"), 1),
        (StreamsError("the disk is full"), 1),
        (BrokerUnreachable("a:1", "refused"), 1),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_become_exit_codes(run, monkeypatch, error, code):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("streams.topics.check", fail)
    result = run("topics", "check")
    assert result.exit_code == code
    if str(error):
        assert result.stderr == f"extraction-detector: {error}\n"


def test_a_mistake_in_the_program_is_not_hidden(run, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr("streams.topics.check", fail)
    assert isinstance(run("topics", "check").exception, ZeroDivisionError)


# -- check -----------------------------------------------------------------------------------------


def test_check_is_0_when_a_worker_can_start(run, cluster):
    cluster.problems = [Problem("topic x", "kept on 1 broker only", "fine for trials", severity="warning")]
    result = run("check")
    assert result.exit_code == 0
    assert "kafka.example.net:9092" in result.stderr
    assert "warning: topic x: kept on 1 broker only. fine for trials" in result.stderr
    assert "ready" in result.stderr


def test_check_is_1_when_a_topic_is_wrong(run, cluster):
    cluster.problems = [Problem("topic x", "does not exist", "Run it")]
    result = run("check", "--output", "json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["ok"] is False
    assert report["brokers"] == ["kafka.example.net:9092"]
    assert report["problems"] == [
        {"where": "topic x", "message": "does not exist", "fix": "Run it", "severity": "error"}
    ]


def test_check_is_1_when_no_broker_answers(run, cluster):
    cluster.unreachable = True
    result = run("check")
    assert result.exit_code == 1
    assert "configuration: valid" in result.stderr
    assert "no Kafka broker answers at kafka.example.net:9092" in result.stderr


def test_check_is_1_without_a_hash_key(run, cluster):
    result = run("check", env={"EXTRACTION_HASH_KEY": ""})
    assert result.exit_code == 1
    assert "EXTRACTION_HASH_KEY" in result.stderr


def test_check_offline_reaches_no_server(run, cluster):
    cluster.unreachable = True
    assert run("check", "--offline").exit_code == 0


def test_check_prints_what_is_in_effect_without_secrets(run):
    env = {"EXTRACTION_INGEST__FETCH": "77"}
    shown = run("check", "--offline", "--print", env=env)
    assert tomllib.loads(shown.stdout)["ingest"]["fetch"] == 77
    assert KEY not in shown.output
    report = json.loads(run("check", "--offline", "--print", "--output", "json", env=env).stdout)
    assert report["configuration"]["ingest"]["fetch"] == 77
    assert KEY not in json.dumps(report)


# -- topics ----------------------------------------------------------------------------------------


def some_topics():
    from streams.settings import Settings

    return plan(Settings())[1:3]


def test_topics_create_says_what_it_did(run, cluster):
    made, existing = some_topics()
    cluster.report = CreateReport([made], [existing], [], dry_run=False)
    result = run("topics", "create")
    assert result.exit_code == 0
    assert f"made: {made.name}  8 partitions  cleanup.policy=delete" in result.stdout
    assert f"exists: {existing.name}" in result.stdout
    told = json.loads(run("topics", "create", "--output", "json").stdout)
    assert told["created"] == [{"name": made.name, "partitions": 8, "config": made.config}]
    assert told["existing"] == [existing.name]


def test_topics_create_in_a_dry_run_says_would(run, cluster):
    cluster.report = CreateReport(some_topics(), [], [], dry_run=True)
    assert "would be made: " in run("topics", "create", "--dry-run").stdout


def test_topics_create_is_1_when_one_could_not_be_made(run, cluster):
    cluster.report = CreateReport([], [], [Problem("topic x", "could not be made: denied")], dry_run=False)
    result = run("topics", "create")
    assert result.exit_code == 1
    assert "error: topic x: could not be made: denied" in result.stderr


@pytest.mark.parametrize(("severity", "code"), [("error", 1), ("warning", 0)])
def test_topics_check_is_1_for_errors_only(run, cluster, severity, code):
    cluster.problems = [Problem("topic x", "is odd", severity=severity)]
    assert run("topics", "check").exit_code == code
    result = run("topics", "check", "--output", "json")
    assert result.exit_code == code
    assert json.loads(result.stdout)["ok"] is (code == 0)


# -- logs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_log_record_is_one_line_on_standard_error(form):
    code = (
        "import logging, sys\nfrom streams import logs\n"
        f"logs.setup(logs.LogLevel.INFO, logs.LogFormat('{form}'))\n"
        "log = logging.getLogger('streams.x')\nlog.debug('unseen')\n"
        "log.info('two\\nlines', extra={'offset': 7})\n"
        "try: 1 / 0\nexcept ZeroDivisionError: log.exception('failed')\n"
        "logging.getLogger('aiokafka.consumer').info('chatter')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == ""
    first, second = done.stderr.splitlines()
    assert "ZeroDivisionError" in second
    if form == "json":
        assert json.loads(first).items() >= {"level": "info", "logger": "streams.x", "offset": 7}.items()
        assert json.loads(first)["event"] == "two\nlines"
    else:
        assert first.endswith("streams.x: two\\nlines")


# -- the installed command -------------------------------------------------------------------------

COMMAND = [sys.executable, "-c", "from streams.cli import main; main()"]


def test_the_command_tells_a_bad_configuration_and_exits_with_2():
    env = {**os.environ, "EXTRACTION_TOPICS__PARTITIONS": "none"}
    done = subprocess.run(
        [*COMMAND, "check"], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(
        "extraction-detector: 1 problem in the configuration:\n  topics.partitions: "
    )
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_the_command_with_130(tmp_path):
    # A named pipe that nobody writes to: reading the configuration waits until the signal comes.
    pipe = tmp_path / "never.toml"
    os.mkfifo(pipe)
    process = subprocess.Popen(
        [*COMMAND, "check", "--config", pipe], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        with pipe.open("wb"):  # opens once the command has it open: it is running now
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "Traceback" not in said


def test_topics_acls_prints_commands_and_reaches_no_cluster(run):
    result = run("topics", "acls", "--user", "User:CN={role}")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert all(line.startswith("kafka-acls.sh --bootstrap-server localhost:9092 --add ") for line in lines)
    assert {line.split("--allow-principal ")[1].split()[0] for line in lines} == {
        "User:CN=ingest",
        "User:CN=detect",
        "User:CN=analyst",
    }
    listed = json.loads(run("topics", "acls", "--output", "json").stdout)["grants"]
    assert len(listed) == len(lines)
    assert {grant["principal"] for grant in listed} == {
        f"User:extraction-{role}" for role in ("ingest", "detect", "analyst")
    }
