"""Manifests for Strimzi, the Kafka operator of Kubernetes: topics, and users with the least permissions.

`python -m deploy` writes `deploy/strimzi/` from the plans in `streams/`. Put in the name of your cluster.
"""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from streams import acls, topics
from streams.settings import Settings

_CLUSTER = "kafka"
_API = "kafka.strimzi.io/v1"
_SETTINGS = Path(__file__).parent / "detector.toml"
_HEAD = (
    "# Written by `python -m deploy` from streams/topics.py and streams/acls.py, for the configuration in\n"
    "# deploy/detector.toml with campaigns.links set. `strimzi.io/cluster` names your cluster. Operators\n"
    "# that do not serve kafka.strimzi.io/v1 yet take the same under v1beta2.\n"
)


def _settings() -> Settings:
    # Not by load_settings: what is written must not depend on the environment of whoever writes it. With
    # links, so that what groups of accounts need is there when they are switched on.
    tree = tomllib.loads(_SETTINGS.read_text(encoding="utf-8"))
    return Settings(**{**tree, "campaigns": {"links": ["payment"]}})


def _manifest(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": _API,
        "kind": kind,
        "metadata": {"name": name, "labels": {"strimzi.io/cluster": _CLUSTER}},
        "spec": spec,
    }


def _text(manifests: Iterable[dict[str, Any]]) -> str:
    return _HEAD + "".join("---\n" + yaml.safe_dump(one, sort_keys=False, width=110) for one in manifests)


def topics_text() -> str:
    """`deploy/strimzi/topics.yaml`: all topics but the request bus, which is there already."""
    settings = _settings()
    return _text(
        _manifest(
            "KafkaTopic",
            topic.name,
            {
                "partitions": topic.partitions,
                "replicas": settings.topics.replication_factor,
                "config": topic.config,
            },
        )
        for topic in topics.plan(settings)
        if topic.ours
    )


def users_text() -> str:
    """`deploy/strimzi/users.yaml`."""
    found = acls.grants(_settings())
    return _text(
        _manifest(
            "KafkaUser",
            f"extraction-{role}",
            {
                "authentication": {"type": "scram-sha-512"},
                "authorization": {
                    "type": "simple",
                    "acls": [
                        {
                            "resource": {
                                "type": grant.resource,
                                "name": grant.name,
                                "patternType": "prefix" if grant.prefix else "literal",
                            },
                            "operations": list(grant.operations),
                        }
                        for grant in found
                        if grant.role == role
                    ],
                },
            },
        )
        for role in acls.ROLES
    )
