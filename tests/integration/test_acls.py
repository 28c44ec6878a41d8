"""On a broker that enforces permissions, those that `topics acls` prints suffice and allow nothing more."""

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from streams import acls, topics
from tests.integration.traffic import make_events
from tests.kafka.broker import free_ports

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

(PORT,) = free_ports(1)
PASSWORD = "only-for-this-test"
_USERS = " ".join(f'user_{role}="{PASSWORD}"' for role in acls.ROLES)
SECURED = {
    "listeners": f"SECURED://127.0.0.1:{PORT}",
    "advertised.listeners": f"SECURED://127.0.0.1:{PORT}",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURED:SASL_PLAINTEXT",
    "listener.name.secured.sasl.enabled.mechanisms": "PLAIN",
    "listener.name.secured.plain.sasl.jaas.config": (
        f"org.apache.kafka.common.security.plain.PlainLoginModule required {_USERS};"
    ),
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    # The tests' own tools, and the broker itself, come in without a name.
    "super.users": "User:ANONYMOUS",
}


def environment(role):
    """What makes a command use the listener that asks who it is."""
    return {
        "EXTRACTION_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{PORT}",
        "EXTRACTION_KAFKA__PROPERTIES__SECURITY_PROTOCOL": "sasl_plaintext",
        "EXTRACTION_KAFKA__PROPERTIES__SASL_MECHANISMS": "PLAIN",
        "EXTRACTION_KAFKA__PROPERTIES__SASL_USERNAME": role,
        "EXTRACTION_KAFKA__PROPERTIES__SASL_PASSWORD": PASSWORD,
        "EXTRACTION_KAFKA__ALLOW_PLAINTEXT_SASL": "true",
    }


def client(role):
    return {
        "bootstrap.servers": f"127.0.0.1:{PORT}", "security.protocol": "sasl_plaintext", "log_level": 0,
        "sasl.mechanisms": "PLAIN", "sasl.username": role, "sasl.password": PASSWORD,
    }  # fmt: skip


KINDS = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactionalId": ResourceType.TRANSACTIONAL_ID,
}
OPERATIONS = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
}


def grant(kafka, settings):
    bindings = [
        AclBinding(
            KINDS[one.resource],
            one.name,
            ResourcePatternType.PREFIXED if one.prefix else ResourcePatternType.LITERAL,
            f"User:{one.role}",
            "*",
            OPERATIONS[operation],
            AclPermissionType.ALLOW,
        )
        for one in acls.grants(settings)
        for operation in one.operations
    ]
    admin = kafka.admin()  # kept, because its going ends what it was asked for
    for done in admin.create_acls(bindings).values():
        done.result(30)


def allowed(role, topics):
    """What the broker says that this user may do: topic -> operations; nothing for topics it may not see."""
    admin = AdminClient(client(role))
    found = {}
    answers = admin.describe_topics(TopicCollection(topics), include_authorized_operations=True)
    for name, answer in answers.items():
        try:
            found[name] = {operation.name for operation in answer.result(30).authorized_operations}
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise
            found[name] = set()
    return found


@pytest.mark.parametrize("own_kafka", [SECURED], indirect=True)
def test_the_printed_permissions_suffice_and_allow_nothing_more(own_kafka, deploy):
    deployment = deploy(on=own_kafka, EXTRACTION_CAMPAIGNS__LINKS="payment")
    plain = dict(deployment.environment)
    grant(own_kafka, deployment.settings)

    deployment.environment = plain | environment("analyst")
    deployment.command("allow", "person-001", "--for", "7d", "--reason", "test")

    for role in ("ingest", "detect"):
        deployment.environment = plain | environment(role)
        deployment.start(role)
    deployment.send([event for _, event in make_events(1, shards=8)])

    def ended():
        return any(worker.poll() is not None for worker in deployment.workers)

    deployment.await_applied(deployment.sent, unless=ended)
    deployment.await_applied(deployment.sent, role="pools", unless=ended)
    assert deployment.alerts()

    seen = {"DESCRIBE", "DESCRIBE_CONFIGS"}
    may = {
        "ingest": {
            "requests": {"READ"},
            "observations": {"WRITE"},
            "sightings": {"WRITE"},
            "deadletter": {"WRITE"},
        },
        "detect": {
            "observations": {"READ"},
            "sightings": {"READ"},
            "state": {"READ", "WRITE"},
            "pools": {"READ", "WRITE"},
            "alerts": {"WRITE"},
            "control": {"READ"},
        },
        "analyst": {"alerts": {"READ", "DESCRIBE"}, "control": {"READ", "WRITE", "DESCRIBE"}},
    }
    names = {topic.role: topic.name for topic in topics.plan(deployment.settings)}
    for role, granted in may.items():
        workers = seen if role != "analyst" else set()
        expected = {name: granted.get(topic, set()) | workers for topic, name in names.items()}
        assert allowed(role, list(names.values())) == expected, role


@pytest.mark.parametrize("own_kafka", [SECURED], indirect=True)
def test_without_permissions_a_worker_says_what_it_lacks(own_kafka, deploy):
    deployment = deploy(on=own_kafka)
    deployment.environment |= environment("detect")
    worker = deployment.start("detect")
    assert worker.wait(60) == 1
    log = worker.log.read_text()
    assert "Traceback" not in log
    assert deployment.settings.topics.state in log
