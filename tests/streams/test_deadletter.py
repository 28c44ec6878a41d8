"""Dead letters say where they came from, and the breaker opens when nearly all records are refused."""

import pytest

from streams.codecs import EventError
from streams.deadletter import Breaker, BreakerOpenError, headers
from streams.errors import StreamsError

ERROR = EventError("wrong_type", "Expected `str`, got `null` - at `$.account_id`")


class Message:
    """What is read of a message of the client."""

    def __init__(self, kept=None):
        self._kept = kept

    def headers(self):
        return self._kept

    def topic(self):
        return "llm.requests"

    def partition(self):
        return 3

    def offset(self):
        return 0


@pytest.mark.parametrize("kept", [None, []])
def test_headers_name_place_and_reason(kept):
    found = headers(Message(kept), ERROR)
    assert len(found) == len(dict(found))
    assert dict(found) == {
        "__connect.errors.topic": b"llm.requests",
        "__connect.errors.partition": b"3",
        "__connect.errors.offset": b"0",
        "__connect.errors.connector.name": b"extraction-detector",
        "__connect.errors.stage": b"VALUE_CONVERTER",
        "__connect.errors.class.name": b"streams.codecs.decode_event",
        "__connect.errors.exception.class.name": b"wrong_type",
        "__connect.errors.exception.message": ERROR.detail.encode(),
    }


def test_headers_of_the_producer_come_first_and_are_kept_repeats_included():
    kept = [("trace", b"\xff\x00"), ("trace", b"2"), ("empty", None)]
    assert headers(Message(kept), ERROR)[:3] == kept
    assert kept == [("trace", b"\xff\x00"), ("trace", b"2"), ("empty", None)]


def test_a_letter_that_was_dead_before_keeps_its_first_place():
    found = headers(Message([("__connect.errors.topic", b"origin")]), ERROR)
    assert [value for name, value in found if name == "__connect.errors.topic"] == [b"origin"]
    assert dict(found)["__connect.errors.offset"] == b"0"


@pytest.mark.parametrize(
    ("steps", "opens", "why"),
    [
        ([(10, 0)], True, "all refused"),
        ([(9, 0)], False, "too few seen to say"),
        ([(9, 0), (0, 1)], True, "nine of ten are the share"),
        ([(8, 0), (0, 2)], False, "eight of ten are not"),
        ([(0, 100), (9, 0)], True, "the good past is out of the window but for one"),
        ([(0, 100), (8, 0)], False, "it is not yet"),
        ([(0, 5), (25, 0)], True, "more at once than the window holds"),
        ([(8, 2), (8, 2), (8, 2), (8, 2)], False, "a steady share below"),
        ([(0, 0)] * 20, False, "nothing happened"),
    ],
)
def test_breaker(steps, opens, why):
    breaker = Breaker(window=10, share=0.9)
    opened = False
    try:
        for refused, accepted in steps:
            breaker.record(refused, accepted, "not_json")
    except BreakerOpenError:
        opened = True
    assert opened == opens, why


def test_breaker_says_what_to_check():
    with pytest.raises(
        BreakerOpenError, match=r"2 of the last 2 .*newest: not_json: x.*topics\.format"
    ) as at:
        Breaker(window=2, share=1.0).record(2, 0, "not_json: x")
    assert isinstance(at.value, StreamsError)


def test_breaker_closes_again_when_good_records_come():
    breaker = Breaker(window=4, share=0.5)
    with pytest.raises(BreakerOpenError):
        breaker.record(4, 0)
    breaker.record(0, 3)
    breaker.record(1, 0)
