"""Records that are not request events: kept byte for byte with the reason, and when to stop instead."""

from collections import deque
from typing import Any

from confluent_kafka import Message

from streams.codecs import EventError
from streams.errors import StreamsError

Headers = list[tuple[str, bytes | str | None]]

CONNECTOR = "extraction-detector"


class BreakerOpenError(StreamsError):
    """Nearly everything is undecodable: going on would drain the bus into the dead-letter topic."""


class Breaker:
    """Stops the worker when the share of refused records in the last `window` reaches `share`.

    Parameters
    ----------
    window : int
        Records looked at.
    share : float
        Share of refused ones, in (0, 1], at which it opens.
    """

    def __init__(self, *, window: int, share: float) -> None:
        self._outcomes: deque[bool] = deque(maxlen=window)
        self._window = window
        self._share = share
        self._bad = 0

    def record(self, refused: int, accepted: int, reason: str = "") -> None:
        """Count outcomes; raises `BreakerOpenError` when nearly all were refused.

        `reason` is the newest refusal in words, for the message.
        """
        outcomes = self._outcomes
        for bad in [True] * refused + [False] * accepted:
            if len(outcomes) == self._window:
                self._bad -= outcomes[0]
            outcomes.append(bad)
            self._bad += bad
        if len(outcomes) == self._window and self._bad >= self._share * self._window:
            raise BreakerOpenError(
                f"{self._bad} of the last {self._window} records are not request events (newest: {reason}). "
                "Stopped instead of draining the topic into the dead letters: check topics.requests and "
                "topics.format, then start again; nothing unread was acknowledged"
            )


def headers(message: Message, error: EventError) -> Headers:
    """Original headers, then where the record came from and why it was refused, in Kafka Connect's names."""
    kept: Headers = list(message.headers() or ())
    present = {name for name, _ in kept}
    added: dict[str, Any] = {
        "__connect.errors.topic": message.topic(),
        "__connect.errors.partition": str(message.partition()),
        "__connect.errors.offset": str(message.offset()),
        "__connect.errors.connector.name": CONNECTOR,
        "__connect.errors.stage": "VALUE_CONVERTER",
        "__connect.errors.class.name": "streams.codecs.decode_event",
        "__connect.errors.exception.class.name": error.reason,
        "__connect.errors.exception.message": error.detail,
    }
    kept.extend((name, value.encode()) for name, value in added.items() if name not in present)
    return kept
