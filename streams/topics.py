"""Topics: the only place that spells their keys, partitions and retention, and creates and checks them."""

import dataclasses
import functools
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Literal

from aiokafka.partitioner import murmur2
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from streams.errors import BrokerUnreachable, Problem
from streams.settings import Settings

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
