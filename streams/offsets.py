"""Questions about a partition's offsets that Faust's consumer cannot answer."""

from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, TopicPartition


def watermarks(client: Mapping[str, Any], topic: str, partition: int) -> tuple[int, int]:
    """First offset still kept and the offset after the last one; blocks, ten seconds at most.

    Raises
    ------
    confluent_kafka.KafkaException
        The broker did not answer, or there is no such partition.
    """
    consumer = Consumer({**client, "group.id": "unused", "enable.auto.commit": False})
    try:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
    finally:
        consumer.close()
    return int(low), int(high)
