"""The control topic: writes decisions to it."""

from collections.abc import Sequence

from confluent_kafka import KafkaError, Message, Producer

from detectors.control import Control
from streams import topics
from streams.control import ControlError
from streams.settings import Settings

_WRITE_S = 30.0


def send_control(settings: Settings, records: Sequence[Control]) -> str:
    """Write records to the control topic; returns its name when the broker has them.

    The topic is compacted, so the key says all that a record is about: a later one about the same thing
    replaces it, and nothing else does.

    Raises
    ------
    BrokerUnreachable
        No broker answers.
    ControlError
        There is no such topic, or the broker did not take them.
    """
    topic = settings.topics.control
    if topic not in topics.reach(settings).topics:
        raise ControlError(
            f"topic {topic!r} does not exist, or this user may not see it; "
            "make it with `extraction-detector topics create`, or give --control FILE"
        )
    failures: list[KafkaError] = []
    taken = 0

    def delivered(error: KafkaError | None, _message: Message) -> None:
        nonlocal taken
        if error is None:
            taken += 1
        else:
            failures.append(error)

    producer = Producer(
        {
            **settings.kafka.client(),
            "enable.idempotence": True,
            "message.timeout.ms": int(_WRITE_S * 1000),
            "partitioner": "murmur2_random",  # as Java clients do, so that theirs and ours meet by key
        }
    )
    for record in records:
        producer.produce(topic, value=record.encode(), key=record.key.encode(), on_delivery=delivered)
    producer.flush(_WRITE_S + 5)
    if taken < len(records):
        why = failures[0].str() if failures else "it does not answer"
        raise ControlError(
            f"topic {topic!r}: the broker took {taken} of {len(records)} records: {why}; try again, "
            "repeats change nothing"
        )
    return topic
