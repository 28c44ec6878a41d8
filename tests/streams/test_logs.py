"""During an outage the Kafka clients' messages are written once per half minute, with how often they came."""

import logging

import pytest

from streams.logs import OncePerWhile


def record(name, message, at, *args):
    made = logging.LogRecord(name, logging.ERROR, __file__, 1, message, args, None)
    made.created = at
    return made


def test_a_recurring_message_is_held_back_and_counted():
    once = OncePerWhile()
    said = [record("aiokafka.client", "cannot reach node %d", float(at), at) for at in range(40)]
    passed = [one for one in said if once.filter(one)]
    assert [one.getMessage() for one in passed] == [
        "cannot reach node 0",
        "cannot reach node 30 (29 more like this)",
    ]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("streams.agents", "our own loggers say each thing once"),
        ("streams.worker", "waiting is said each time"),
    ],
)
def test_other_loggers_are_left_alone(name, why):
    once = OncePerWhile()
    assert all(once.filter(record(name, "same", 1.0)) for _ in range(3)), why


def test_memory_is_bounded():
    once = OncePerWhile()
    for number in range(5000):
        once.filter(record("librdkafka", "x" * number, 1.0))
    assert len(once._seen) <= 1000
