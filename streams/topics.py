"""Topics: the only place that spells their keys, partitions and retention, and creates and checks them."""

import dataclasses
import functools
import logging
import re
import time
from collections.abc import Iterable
from typing import Any, Literal

from aiokafka.partitioner import murmur2
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from streams.errors import BrokerUnreachable, Problem
from streams.settings import Settings

__all__ = [
    "BrokerUnreachable",
    "Cluster",
    "CreateReport",
    "Problem",
    "Topic",
    "check",
    "create",
    "largest_message_bytes",
    "partition_of",
    "plan",
    "reach",
]

_log = logging.getLogger(__name__)

_CREATE = "Run `extraction-detector topics create`"
_TIMEOUT_S = 10.0

# -- placement -------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=131_072)
def _hash(account_id: str) -> int:
    # In Python murmur2 takes microseconds, a hit here a tenth of one; accounts come back soon.
    return int(murmur2(account_id.encode("utf-8", "surrogatepass"))) & 0x7FFFFFFF


def partition_of(account_id: str, partitions: int) -> int:
    """Partition of an account: what Kafka's Java client chooses for the UTF-8 bytes of its id.

    Parameters
    ----------
    account_id : str
        The account.
    partitions : int
        Partitions of the topic, at least 1.

    Returns
    -------
    int
        From 0 to `partitions` - 1.
    """
    return _hash(account_id) % partitions


# -- plan ------------------------------------------------------------------------------------------

Role = Literal["requests", "observations", "sightings", "state", "pools", "alerts", "control", "deadletter"]

_DAY_MS = 86_400_000
_RECOMMENDED_REPLICAS = 3
_HEADROOM_BYTES = 1_048_576  # record overhead, headers and key beside a value of the largest size


@dataclasses.dataclass(frozen=True, slots=True)
class Topic:
    """How one topic is to be.

    Attributes
    ----------
    role : str
        What it is for: its key under `topics` in the configuration.
    name : str
        Its name on the cluster.
    partitions : int or None
        How many it must have; None where that is not ours to say.
    config : dict
        Topic configuration it is created with.
    purpose : str
        One sentence for people.
    key : str
        What its records are keyed by.
    fixed : bool
        Whether another partition count would put accounts into the wrong place.
    ours : bool
        False for the request bus, which exists before this project.
    """

    role: Role
    name: str
    partitions: int | None
    config: dict[str, str]
    purpose: str
    key: str
    fixed: bool = False
    ours: bool = True


def largest_message_bytes(settings: Settings) -> int:
    """Largest message the pipeline may write: a refused record as it came, or a packed batch.

    Producers need it as `message.max.bytes`: librdkafka's default is 1 MB, and a record that does not
    fit is a delivery error, which ends the worker.
    """
    return settings.ingest.max_event_bytes + _HEADROOM_BYTES


def plan(settings: Settings) -> list[Topic]:
    """Every topic of the pipeline, the request bus first."""
    names, partitions = settings.topics, settings.topics.partitions
    largest = str(largest_message_bytes(settings))
    compacted = {
        "cleanup.policy": "compact",
        # Loading reads all that is not compacted yet: compact soon, in small segments.
        "min.cleanable.dirty.ratio": "0.1",
        "segment.bytes": str(64 * 1_048_576),
        "segment.ms": str(3_600_000),
        # A loader that began before a deletion must still see its tombstone.
        "delete.retention.ms": str(_DAY_MS),
    }
    topics = [
        Topic(
            "requests",
            names.requests,
            None,
            {},
            "Request events, in any supported format.",
            "any",
            ours=False,
        ),
        Topic(
            "observations",
            names.observations,
            partitions,
            {"cleanup.policy": "delete", "retention.ms": str(7 * _DAY_MS), "max.message.bytes": largest},
            "Observations packed many to a message; numbers and keyed hashes, no text. Retention bounds how "
            "long detect may be down without losing any.",
            "none: the partition is chosen by account",
            fixed=True,
        ),
        Topic(
            "sightings",
            names.sightings,
            partitions,
            {"cleanup.policy": "delete", "retention.ms": str(7 * _DAY_MS), "max.message.bytes": largest},
            "Observations once more for every link between accounts that is looked at; see campaigns.links.",
            "none: the partition is chosen by link",
            fixed=bool(settings.campaigns.links),
        ),
        Topic(
            "state",
            names.state,
            partitions,
            compacted,
            "State per account, and how far it stands; written in transactions.",
            "account, or position",
            fixed=True,
        ),
        *(
            [
                Topic(
                    "pools",
                    names.pools,
                    partitions,
                    compacted,
                    "State per group of accounts that share a link; written in transactions.",
                    "group, or position",
                    fixed=True,
                )
            ]
            if settings.campaigns.links
            else []
        ),
        Topic(
            "alerts",
            names.alerts,
            1,
            # Campaigns are reviewed, and argued over, months later.
            {"cleanup.policy": "delete", "retention.ms": str(365 * _DAY_MS)},
            "Alerts. Few, so one partition, which keeps them in order.",
            "subject id",
        ),
        Topic(
            "control",
            names.control,
            1,
            compacted,
            "Labels, allowances, suppressions, bans; read as a whole by every detect worker.",
            "kind of decision, and whom it is about",
        ),
        Topic(
            "deadletter",
            names.deadletter,
            partitions,
            # Holds prompts as they came: long enough to repair and replay, no longer.
            {"cleanup.policy": "delete", "retention.ms": str(7 * _DAY_MS), "max.message.bytes": largest},
            "Records that are not request events, as they came, with the reason in headers.",
            "as it came",
        ),
    ]
    if settings.topics.replication_factor >= _RECOMMENDED_REPLICAS:
        # Otherwise one surviving copy is enough for an acknowledgement, and can be lost with its disk.
        safe = {"min.insync.replicas": "2"}
        topics = [dataclasses.replace(t, config={**t.config, **safe}) if t.ours else t for t in topics]
    return topics


# -- the cluster -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Existing:
    """How a topic is on the cluster."""

    partitions: int
    replicas: int


@dataclasses.dataclass(frozen=True, slots=True)
class Cluster:
    """What the brokers say of themselves.

    Attributes
    ----------
    brokers : dict
        Broker id to `host:port`.
    topics : dict
        Name to how the topic is.
    denied : frozenset of str
        Topics this user may not see.
    administrable : bool
        Whether there is a controller; without one, requests to make or describe only run out of time.
    """

    brokers: dict[int, str]
    topics: dict[str, Existing]
    denied: frozenset[str] = frozenset()
    administrable: bool = True


class _Session:
    """An admin client that remembers what the client library complained about."""

    def __init__(self, settings: Settings) -> None:
        self._servers = settings.kafka.bootstrap_servers
        self._complaints: list[str] = []
        self.client = AdminClient(
            {
                # Errors come to error_cb; librdkafka would also print them to standard error.
                "log_level": 0,
                **settings.kafka.client(),
                "error_cb": lambda error: self._complaints.append(error.str()),
            }
        )

    def cluster(self, timeout_s: float) -> Cluster:
        """Brokers and topics; raises `BrokerUnreachable`."""
        try:
            metadata = self.client.list_topics(timeout=timeout_s)
        except KafkaException as failure:
            raise self.unreachable(failure.args[0]) from None
        topics, denied = {}, set()
        for name, topic in metadata.topics.items():
            if topic.error is not None:
                if topic.error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    denied.add(name)
                continue
            replicas = min((len(part.replicas) for part in topic.partitions.values()), default=0)
            topics[name] = Existing(len(topic.partitions), replicas)
        brokers = {broker.id: f"{broker.host}:{broker.port}" for broker in metadata.brokers.values()}
        return Cluster(brokers, topics, frozenset(denied), administrable=metadata.controller_id in brokers)

    def unreachable(self, error: KafkaError) -> BrokerUnreachable:
        """What to raise for an error of the connection, with the client's own words where it has any."""
        self.client.poll(0)  # complaints are delivered here
        # The last complaint is usually "all brokers down"; the first says why.
        reasons = [text for text in self._complaints if "brokers are down" not in text]
        return BrokerUnreachable(self._servers, _short(reasons[0]) if reasons else error.str())


def _short(complaint: str) -> str:
    """Without the names of connection and server in front and the count of repeats behind."""
    text = complaint.split("]: ", 1)[-1] if complaint.startswith("[thrd:") else complaint
    return re.sub(r"^\S+/(bootstrap|\d+): ", "", text).partition(" (after ")[0].rstrip(". ")


def reach(settings: Settings, timeout_s: float = _TIMEOUT_S) -> Cluster:
    """Brokers and topics of the cluster.

    Raises
    ------
    BrokerUnreachable
        No broker answered within `timeout_s` seconds.
    """
    return _Session(settings).cluster(timeout_s)


# -- create ----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class CreateReport:
    """What `create` did, or would do.

    Attributes
    ----------
    created : list of Topic
        Made now, or to be made in a dry run.
    existing : list of Topic
        Left as they are.
    problems : list of Problem
        Topics that could not be made.
    dry_run : bool
        Nothing was changed.
    """

    created: list[Topic]
    existing: list[Topic]
    problems: list[Problem]
    dry_run: bool


def create(
    settings: Settings, dry_run: bool = False, *, requests: bool = False, timeout_s: float = _TIMEOUT_S
) -> CreateReport:
    """Make the topics that do not exist; existing ones are never changed.

    Parameters
    ----------
    settings : Settings
        Names and sizes.
    dry_run : bool
        Only say what would be made.
    requests : bool
        Also make the request bus, with as many partitions as observations: for trying out.
    timeout_s : float
        Longest to wait for the cluster. Seconds.

    Raises
    ------
    BrokerUnreachable
        No broker answered.
    """
    session = _Session(settings)
    cluster = session.cluster(timeout_s)
    known = cluster.topics
    wanted = [topic for topic in plan(settings) if topic.ours or requests]
    existing = [topic for topic in wanted if topic.name in known]
    missing = [
        topic if topic.ours else dataclasses.replace(topic, partitions=settings.topics.partitions)
        for topic in wanted
        if topic.name not in known
    ]
    if dry_run or not missing:
        return CreateReport(missing, existing, [], dry_run)
    if not cluster.administrable:
        problem = Problem(
            f"cluster {settings.kafka.bootstrap_servers}",
            "has no controller, so no topic can be made",
            "Wait until it has elected one, and try again",
        )
        return CreateReport([], existing, [problem], dry_run)
    futures = session.client.create_topics(
        [
            NewTopic(
                topic.name,
                num_partitions=topic.partitions or -1,
                replication_factor=settings.topics.replication_factor,
                config=topic.config,
            )
            for topic in missing
        ],
        operation_timeout=timeout_s,
        request_timeout=timeout_s,
    )
    created, problems = [], []
    for topic in missing:
        try:
            futures[topic.name].result()
        except KafkaException as failure:
            error = failure.args[0]
            if error.code() == KafkaError.TOPIC_ALREADY_EXISTS:
                existing.append(topic)
            else:
                problems.append(_not_created(topic, error))
        else:
            created.append(topic)
    _await_visible(session, [topic.name for topic in created], timeout_s)
    return CreateReport(created, existing, problems, dry_run=False)


_GRANT_CREATE = "Grant Create on this topic, or have an administrator make it"
_CREATE_FIXES = {
    KafkaError.INVALID_REPLICATION_FACTOR: "Set topics.replication_factor to at most the number of brokers",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: _GRANT_CREATE,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: _GRANT_CREATE,
    KafkaError.POLICY_VIOLATION: "Make it as the cluster's policy allows; `--dry-run` shows what it needs",
    KafkaError._TIMED_OUT: "Try again; what was made in the meantime is kept",
}


def _not_created(topic: Topic, error: KafkaError) -> Problem:
    where = f"topic {topic.name}"
    return Problem(where, f"could not be made: {error.str()}", _CREATE_FIXES.get(error.code(), ""))


def _await_visible(session: _Session, names: Iterable[str], timeout_s: float) -> None:
    """Wait until brokers answer for new topics: the controller says "made" a little before they do."""
    missing = set(names)
    deadline = time.monotonic() + timeout_s
    while missing:
        missing -= session.cluster(timeout_s).topics.keys()
        if missing and time.monotonic() > deadline:
            _log.warning("made, but not visible yet: %s", ", ".join(sorted(missing)))
            return
        if missing:
            time.sleep(0.05)


# -- check -----------------------------------------------------------------------------------------


def check(settings: Settings, *, timeout_s: float = _TIMEOUT_S) -> list[Problem]:
    """Everything about the topics that is wrong, or should not stay as it is.

    Raises
    ------
    BrokerUnreachable
        No broker answered.
    """
    session = _Session(settings)
    cluster = session.cluster(timeout_s)
    topics = plan(settings)
    problems: list[Problem] = []
    present = []
    for topic in topics:
        found = cluster.topics.get(topic.name)
        if found is None:
            problems.append(_absent(topic, denied=topic.name in cluster.denied))
            continue
        present.append(topic)
        problems.extend(_wrong_size(topic, found))
    problems.extend(_few_copies(present, cluster))
    ours = [topic.name for topic in present if topic.ours] if cluster.administrable else []
    configs = _configs(session, ours, timeout_s)
    for topic in present:
        problems.extend(_wrong_config(topic, configs.get(topic.name, {}), cluster.topics[topic.name]))
    return problems


def _absent(topic: Topic, *, denied: bool) -> Problem:
    where = f"topic {topic.name}"
    if denied:
        return Problem(where, "this user may not see it", "Grant Describe, Read and Write on it")
    if not topic.ours:
        return Problem(
            where,
            "does not exist, and it is the request bus to read from",
            "Set topics.requests to the topic that carries your request events; to try out without one, run "
            "`extraction-detector topics create --requests`",
        )
    return Problem(where, "does not exist", _CREATE)


def _wrong_size(topic: Topic, found: Existing) -> Iterable[Problem]:
    if topic.fixed and found.partitions != topic.partitions:
        yield Problem(
            f"topic {topic.name}",
            f"has {found.partitions} partitions, but topics.partitions is {topic.partitions}: accounts would "
            "be looked for where their state is not",
            f"Set topics.partitions to {found.partitions} if observations and state were made like this on "
            "purpose; otherwise delete the topic, with what it holds. " + _CREATE,
        )
    elif found.partitions == 0:
        yield Problem(f"topic {topic.name}", "has no partitions that brokers serve", "See the brokers' logs")


def _few_copies(present: list[Topic], cluster: Cluster) -> Iterable[Problem]:
    few = {topic.name: cluster.topics[topic.name].replicas for topic in present if topic.ours}
    few = {name: replicas for name, replicas in few.items() if 0 < replicas < _RECOMMENDED_REPLICAS}
    if few:
        least = min(few.values())
        yield Problem(
            f"topic{'s' if len(few) > 1 else ''} {', '.join(few)}",
            f"kept on {least} broker{'s' if least > 1 else ''} only, which may be lost with what they hold",
            f"In production set topics.replication_factor = {_RECOMMENDED_REPLICAS}; for trials this is fine",
            severity="warning",
        )


def _wrong_config(topic: Topic, config: dict[str, str], found: Existing) -> Iterable[Problem]:
    where = f"topic {topic.name}"
    policy = config.get("cleanup.policy")
    wanted = topic.config.get("cleanup.policy")
    if policy is not None and wanted is not None:
        kept = {part.strip() for part in policy.split(",")}
        alter = (
            f"Run `kafka-configs.sh --alter --entity-type topics --entity-name {topic.name} "
            f"--add-config cleanup.policy={wanted}`"
        )
        if wanted == "compact" and "delete" in kept:
            yield Problem(
                where,
                f"has cleanup.policy={policy}: entries that do not change would be deleted after a while",
                alter,
            )
        elif wanted == "delete" and "compact" in kept:
            yield Problem(
                where, f"has cleanup.policy={policy}: records with the same key would be lost", alter
            )
    size = config.get("max.message.bytes")
    largest = topic.config.get("max.message.bytes")
    if size is not None and largest is not None and int(size) < int(largest):
        yield Problem(
            where,
            f"has max.message.bytes={size}, less than the {largest} that ingest.max_event_bytes needs: a "
            "message too large would stop the worker",
            f"Run `kafka-configs.sh --alter --entity-type topics --entity-name {topic.name} "
            f"--add-config max.message.bytes={largest}`, or lower ingest.max_event_bytes",
            severity="warning",
        )
    insync = config.get("min.insync.replicas")
    if insync == "1" and found.replicas >= _RECOMMENDED_REPLICAS:
        yield Problem(
            where,
            "has min.insync.replicas=1: an acknowledged record may be on one broker only",
            "Set it to 2",
            severity="warning",
        )


def _configs(session: _Session, names: list[str], timeout_s: float) -> dict[str, dict[str, str]]:
    """Topic configurations, as far as the cluster tells: not every one does, nor tells everybody."""
    if not names:
        return {}
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    found: dict[str, dict[str, str]] = {}
    answers: dict[Any, Any] = session.client.describe_configs(resources, request_timeout=timeout_s)
    for resource, answer in answers.items():
        try:
            entries = answer.result()
        except KafkaException as failure:
            _log.info("configuration of topic %s not known: %s", resource.name, failure.args[0].str())
            continue
        found[resource.name] = {
            name: entry.value for name, entry in entries.items() if entry.value is not None
        }
    return found
