"""Least privileges on the cluster: what each role of the pipeline must be granted, and nothing more.

Worked out from what the code asks of Kafka; `tests/integration/test_acls.py` runs the pipeline on a broker
that enforces them.
"""

import dataclasses
import shlex
from typing import Literal

from streams import topics
from streams.settings import Settings

__all__ = ["ROLES", "Grant", "commands", "grants"]

Role = Literal["ingest", "detect", "analyst"]
ROLES: tuple[Role, ...] = ("ingest", "detect", "analyst")
"""Workers of either stage, and the people who read alerts and decide about accounts."""

# The worker compares topics with the configuration before it starts.
_CHECKED = ("Describe", "DescribeConfigs")

# Readers of state and decisions are in no group, but librdkafka wants a name and asks who coordinates it.
_NO_GROUP = "unused"


@dataclasses.dataclass(frozen=True, slots=True)
class Grant:
    """What one user may do with one resource.

    Attributes
    ----------
    role : str
        Of `ROLES`.
    resource : str
        `topic`, `group` or `transactionalId`, as Strimzi spells them.
    name : str
        Its name, or what its name begins with.
    operations : tuple of str
        In Kafka's names, sorted.
    prefix : bool
        Whether `name` is only the beginning.
    """

    role: Role
    resource: Literal["topic", "group", "transactionalId"]
    name: str
    operations: tuple[str, ...]
    prefix: bool = False


def grants(settings: Settings) -> list[Grant]:
    """Everything that must be granted, by role; Kafka denies the rest.

    Parameters
    ----------
    settings : Settings
        Names of topics and of the deployment.
    """
    app, grouped = settings.app_id, bool(settings.campaigns.links)
    wanted: dict[Role, dict[str, tuple[str, ...]]] = {
        "ingest": {
            "requests": ("Read",),
            "observations": ("Write",),
            "sightings": ("Write",) if grouped else (),
            "deadletter": ("Write",),
        },
        "detect": {
            "observations": ("Read",),
            "sightings": ("Read",) if grouped else (),
            "state": ("Read", "Write"),
            "pools": ("Read", "Write"),
            "alerts": ("Write",),
            "control": ("Read",),
        },
        "analyst": {"alerts": ("Read",), "control": ("Read", "Write")},
    }
    found = []
    for role, by_topic in wanted.items():
        for topic in topics.plan(settings):
            operations = set(by_topic.get(topic.role, ()))
            operations |= {"Describe"} if role == "analyst" and operations else set()
            operations |= set(_CHECKED) if role != "analyst" else set()
            if operations:
                found.append(Grant(role, "topic", topic.name, tuple(sorted(operations))))
    found += [
        Grant("ingest", "group", f"{app}-ingest", ("Read",)),
        Grant("detect", "group", f"{app}-detect", ("Read",)),
        Grant("detect", "group", _NO_GROUP, ("Describe",)),
        Grant("detect", "transactionalId", f"{app}-state-", ("Describe", "Write"), prefix=True),
    ]
    if grouped:
        found.append(
            Grant("detect", "transactionalId", f"{app}-pools-state-", ("Describe", "Write"), prefix=True)
        )
    return sorted(found, key=lambda grant: ROLES.index(grant.role))


_OPTION = {"topic": "--topic", "group": "--group", "transactionalId": "--transactional-id"}


def commands(settings: Settings, principals: dict[Role, str]) -> list[str]:
    """Shell commands that grant it all, with Kafka's own tool.

    Parameters
    ----------
    settings : Settings
        Names of topics and of the deployment, and the brokers.
    principals : dict
        Role to the user on the cluster, for instance `User:extraction-ingest`.
    """
    lines = []
    for grant in grants(settings):
        words = [
            "kafka-acls.sh",
            "--bootstrap-server",
            settings.kafka.bootstrap_servers,
            "--add",
            "--allow-principal",
            principals[grant.role],
            *(word for operation in grant.operations for word in ("--operation", operation)),
            _OPTION[grant.resource],
            grant.name,
            *(("--resource-pattern-type", "prefixed") if grant.prefix else ()),
        ]
        lines.append(shlex.join(words))
    return lines
