"""Permissions: few, by role, for the topics configured; an integration test proves that they suffice."""

import shlex

import pytest

from streams import acls, topics
from streams.settings import Settings

PRINCIPALS = {role: f"User:{role}" for role in acls.ROLES}


@pytest.fixture
def settings():
    return Settings(app_id="eu", topics={"requests": "bus", "state": "eu.state"})


def test_names_are_those_of_the_configuration(settings):
    found = {(grant.role, grant.resource, grant.name) for grant in acls.grants(settings)}
    assert ("ingest", "topic", "bus") in found
    assert ("detect", "topic", "eu.state") in found
    assert ("ingest", "group", "eu-ingest") in found
    assert ("detect", "transactionalId", "eu-state-") in found


def test_groups_of_accounts_need_more(settings):
    with_links = Settings(app_id="eu", campaigns={"links": ["payment"]})
    assert "pools" not in str(acls.grants(settings))
    assert "eu-pools-state-" in {grant.name for grant in acls.grants(with_links)}


def test_nobody_may_alter_create_delete_or_do_everything(settings):
    operations = {operation for grant in acls.grants(settings) for operation in grant.operations}
    assert operations == {"Describe", "DescribeConfigs", "Read", "Write"}
    assert not [grant for grant in acls.grants(settings) if grant.name == "*"]
    assert {grant.resource for grant in acls.grants(settings) if grant.prefix} == {"transactionalId"}


def test_who_writes_what_is_settled(settings):
    writers: dict[str, set[str]] = {}
    for grant in acls.grants(settings):
        if grant.resource == "topic" and "Write" in grant.operations:
            writers.setdefault(grant.name, set()).add(grant.role)
    names = {topic.role: topic.name for topic in topics.plan(settings)}
    assert writers == {
        names["observations"]: {"ingest"},
        names["deadletter"]: {"ingest"},
        names["state"]: {"detect"},
        names["alerts"]: {"detect"},
        names["control"]: {"analyst"},
    }


def test_commands_spell_every_grant_once(settings):
    lines = acls.commands(settings, PRINCIPALS)
    assert len(lines) == len(set(lines)) == len(acls.grants(settings))
    words = shlex.split(next(line for line in lines if "--transactional-id" in line))
    assert words[0] == "kafka-acls.sh"
    assert words[words.index("--allow-principal") + 1] == "User:detect"
    assert words[words.index("--resource-pattern-type") + 1] == "prefixed"


def test_what_comes_from_outside_is_quoted(settings):
    lines = acls.commands(settings, dict.fromkeys(acls.ROLES, "User:CN=a b;rm -rf /"))
    assert all("'User:CN=a b;rm -rf /'" in line for line in lines)
