"""Manifests for Strimzi, the Kafka operator of Kubernetes: the topics of `streams/topics.py`, users with least ACLs.

`python -m deploy` writes `deploy/strimzi/`. They are examples: put in the name of the cluster, and `replicas`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from streams import acls, topics
from streams.settings import Settings, load_settings

_CLUSTER = "kafka"
_API = "kafka.strimzi.io/v1beta2"
_SETTINGS = Path(__file__).parent / "detector.toml"
_HEAD = (
    "# Written by `python -m deploy` from streams/topics.py and streams/acls.py, for the configuration in\n"
    "# deploy/detector.toml with campaigns.links set. `strimzi.io/cluster` names your Kafka cluster. Newer operators\n"
    "# also serve kafka.strimzi.io/v1.\n"
)


def _settings() -> Settings:
    # With links, so that what groups of accounts need is there when it is switched on.
    return load_settings(_SETTINGS, {"campaigns.links": ["payment"]})


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
