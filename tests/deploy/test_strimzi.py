"""Strimzi manifests say what the program plans, under names that Kubernetes takes."""

import re

import pytest
import yaml

from deploy import strimzi
from streams import acls, topics
from streams.settings import Settings

SETTINGS = Settings(campaigns={"links": ["payment"]}, topics={"replication_factor": 3})
TOPICS = list(yaml.safe_load_all(strimzi.topics_text()))
USERS = list(yaml.safe_load_all(strimzi.users_text()))


def test_topics_are_those_of_the_program_with_their_partitions_and_retention():
    planned = {t.name: (t.partitions, 3, t.config) for t in topics.plan(SETTINGS) if t.ours}
    found = {
        one["metadata"]["name"]: (one["spec"]["partitions"], one["spec"]["replicas"], one["spec"]["config"])
        for one in TOPICS
    }
    assert found == planned


def test_users_have_the_grants_of_their_role_and_no_others():
    spelled = set()
    for user in USERS:
        role = user["metadata"]["name"].removeprefix("extraction-")
        for rule in user["spec"]["authorization"]["acls"]:
            kind, name, pattern = (rule["resource"][key] for key in ("type", "name", "patternType"))
            spelled.add((role, kind, name, tuple(rule["operations"]), pattern == "prefix"))
    assert spelled == {(g.role, g.resource, g.name, g.operations, g.prefix) for g in acls.grants(SETTINGS)}


@pytest.mark.parametrize("manifest", [*TOPICS, *USERS], ids=lambda one: one["metadata"]["name"])
def test_names_and_labels_are_as_kubernetes_wants_them(manifest):
    assert re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", manifest["metadata"]["name"])
    assert "strimzi.io/cluster" in manifest["metadata"]["labels"]
    assert manifest["apiVersion"] == "kafka.strimzi.io/v1"
