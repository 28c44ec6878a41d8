"""The subcommand simulate: what it writes, and how it refuses."""

import csv
import datetime as dt
import json

import pytest
from confluent_kafka import Consumer, TopicPartition
from typer.testing import CliRunner

from streams import cli
from streams.embedded import EmbeddedBroker
from streams.simulate import writer
from tests.streams.simulate.prompt_files import row, small_folder, write


def run(*arguments):
    return CliRunner().invoke(cli.build(), ["simulate", *map(str, arguments)])


def test_writes_events_and_labels(tmp_path):
    events, labels = tmp_path / "events.jsonl", tmp_path / "labels.csv"
    done = run("--out", events, "--labels", labels, "--accounts", 20, "--exchanges", 10, "--days", 1)
    assert done.exit_code == 0, done.output
    accounts = {json.loads(line)["account_id"] for line in events.read_bytes().splitlines()}
    with labels.open(newline="") as file:
        assert {found["account_id"] for found in csv.DictReader(file)} == accounts
    assert "20 accounts, 1 of them extract the model" in done.stderr
    assert done.stdout == ""


def test_composes_from_prompt_files_and_tells_of_reuse(tmp_path):
    folder = small_folder(tmp_path)
    done = run(
        "--out", tmp_path / "e.jsonl", "--prompts", folder, "--accounts", 40, "--kind", "rubric_grading"
    )
    assert done.exit_code == 0, done.output
    assert "prompts ran out and were used again" in done.stderr


def test_filters_and_mixes_are_obeyed(tmp_path):
    labels = tmp_path / "labels.csv"
    done = run(
        "--out", tmp_path / "e.jsonl", "--labels", labels, "--accounts", 40, "--exchanges", 8,
        "--extraction-share", 0.5, "--class", "batch=1", "--class", "person=1", "--mode", "sharded",
        "--kind", "nonsense", "--shards", 4,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    with labels.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {found["kind"] for found in rows} == {"batch", "person", "nonsense"}
    assert len({found["campaign"] for found in rows if found["campaign"]}) == 5


def test_all_wrong_usage_is_told_at_once(tmp_path):
    done = run(
        "--out", tmp_path / "none" / "e.txt", "--topic", "t", "--accounts", 0, "--cover", 2,
        "--start", "soon", "--class", "person=lots", "--kind", "theft", "--rate", 0, "--keep-times",
        "--labels", "/none/l.csv",
    )  # fmt: skip
    assert done.exit_code == 2
    told = [line.split(": ")[1] for line in done.stderr.splitlines()]
    assert set(told) == {
        "--out, --topic", "--out", "--accounts", "--cover", "--start", "--class", "--kind", "--rate",
        "--labels",
    }  # fmt: skip
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--out, --topic: none is given"),
        (["--out", "e.jsonl", "--rate", 5], "--rate: is for --topic"),
        (["--topic", "t", "--keep-times"], "--keep-times: is for --rate"),
        (["--out", "e.jsonl", "--prompts", "/none"], "--prompts: /none is no folder"),
        (["--out", "e.jsonl", "--other-abuse"], "--other-abuse: is for --prompts"),
        (["--out", "e.jsonl", "--mode", "loud=1"], "--mode loud: 1.0 cannot be used"),
    ],
)
def test_wrong_usage(arguments, says):
    done = run(*arguments)
    assert done.exit_code == 2
    assert says in done.stderr


def test_damaged_prompts_are_an_error_of_the_files(tmp_path):
    write(tmp_path / "a.jsonl.gz", [row("s", "evil", "k", "t")])
    done = run("--out", tmp_path / "e.jsonl", "--prompts", tmp_path)
    assert done.exit_code == 1
    assert "a.jsonl.gz:1: " in done.stderr


def test_writes_to_a_topic_at_a_rate(tmp_path):
    before = dt.datetime.now(dt.UTC) - dt.timedelta(milliseconds=1)
    with EmbeddedBroker({"requests": 1}) as broker:
        done = run(
            *("--topic", "requests", "--bootstrap", broker.bootstrap_servers, "--keyed-by", "account"),
            *("--accounts", 5, "--exchanges", 8, "--rate", 2000),
        )
        assert done.exit_code == 0, done.output
        reader = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": "r", "log_level": 0})
        reader.assign([TopicPartition("requests", 0, 0)])
        message = reader.poll(30)
        reader.close()
    event = json.loads(message.value())
    assert message.key().decode() == event["account_id"]
    assert before <= dt.datetime.fromisoformat(event["time"]) <= dt.datetime.now(dt.UTC)


def test_an_unreachable_broker_is_told_plainly(monkeypatch):
    monkeypatch.setattr(writer, "_REACH_S", 0.5)
    done = run("--topic", "t", "--bootstrap", "127.0.0.1:9", "--accounts", 1)
    assert done.exit_code == 1
    assert "no Kafka broker answers at 127.0.0.1:9" in done.stderr
