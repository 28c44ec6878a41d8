"""What an account's alert can point to: a few event ids and where the events can be read again."""

import struct
from array import array
from typing import Any

from detectors.alerts import Position
from detectors.errors import StateError
from detectors.primitives import plain

_MARKED, _MARKED_BYTES = 5, 448  # newest exchanges with an elicitation mark or a probing parameter
_OTHERS, _OTHERS_BYTES = 2, 192  # newest other ones; the one that raises an alert comes on top
_POSITIONS = 16
_TOPICS_BYTES = 256
_row = struct.Struct("<BIqI")
_FARTHEST = _PARTITION = 0xFFFFFFFF
_LAST_OFFSET = (1 << 63) - 1


class Trail:
    """Evidence of one account's window, bounded in bytes.

    Notes
    -----
    State: at most 640 bytes of event ids, 256 bytes of topic names and 272 bytes of positions.
    An id that does not fit alone is not kept; a topic name too long keeps its end.
    """

    __slots__ = ("_firsts", "_keys", "_marked", "_others", "_spans", "_topics")

    def __init__(self) -> None:
        # Tuples, because lists that grow take more memory than they need, and empty ones any at all.
        self._marked: tuple[str, ...] = ()
        self._others: tuple[str, ...] = ()
        # Columns, because a dict of ranges takes four times the memory: place of the topic << 32 |
        # partition, oldest first; first offset; how much further the last one is.
        self._topics: tuple[str, ...] = ()
        self._keys, self._firsts, self._spans = array("q"), array("q"), array("I")

    def add(self, event_id: str, telling: bool, topic: str, partition: int, offset: int) -> None:
        """Take one exchange; `telling` ones are kept longer."""
        if telling:
            self._marked = _kept(self._marked, event_id, _MARKED, _MARKED_BYTES)
        else:
            self._others = _kept(self._others, event_id, _OTHERS, _OTHERS_BYTES)
        place = self._topics.index(topic) if topic in self._topics else self._place(topic)
        self._read(place << 32 | partition, offset)

    def _read(self, key: int, offset: int) -> None:
        keys, firsts, spans = self._keys, self._firsts, self._spans
        if key not in keys:
            # Made anew, because an array that appends takes half as much memory again as it needs.
            oldest = len(keys) >= _POSITIONS
            self._keys = keys[oldest:] + array("q", (key,))
            self._firsts = firsts[oldest:] + array("q", (offset,))
            self._spans = spans[oldest:] + array("I", (0,))
            return
        at = keys.index(key)
        first, last = firsts[at], firsts[at] + spans[at]
        if offset > last:
            spans[at] = min(offset - first, _FARTHEST)
        elif offset < first:
            firsts[at] = max(offset, last - _FARTHEST)
            spans[at] = last - firsts[at]

    def _place(self, topic: str) -> int:
        """Place of a topic in the list; where there is no room, positions start anew with this topic."""
        while len(topic.encode("utf-8", "replace")) > _TOPICS_BYTES:
            topic = "…" + topic[-(len(topic) // 2) :]
        if topic in self._topics:
            return self._topics.index(topic)
        size = sum(len(one.encode("utf-8", "replace")) for one in (*self._topics, topic))
        if size > _TOPICS_BYTES or len(self._topics) >= _POSITIONS:
            self._topics = ()
            self._keys, self._firsts, self._spans = array("q"), array("q"), array("I")
        self._topics = (*self._topics, topic)
        return len(self._topics) - 1

    def event_ids(self, raised_by: str) -> list[str]:
        """Ids to look at, the one that raised the alert first, then telling ones, newest first."""
        return list(dict.fromkeys((raised_by, *reversed(self._marked), *reversed(self._others))))

    def positions(self) -> list[Position]:
        """Ranges of offsets that contain the window's exchanges, by topic and partition."""
        found = [
            Position(self._topics[key >> 32], key & _PARTITION, first, first + span)
            for key, first, span in zip(self._keys, self._firsts, self._spans, strict=True)
        ]
        return sorted(found, key=lambda position: (position.topic, position.partition))

    def snapshot(self) -> list[Any]:
        """Ids, topics, and packed positions."""
        packed = b"".join(
            _row.pack(key >> 32, key & _PARTITION, first, span)
            for key, first, span in zip(self._keys, self._firsts, self._spans, strict=True)
        )
        return [list(self._marked), list(self._others), list(self._topics), packed]

    def restore(self, state: Any) -> None:
        """Replace the state by a snapshot's; raises `StateError`."""
        marked, others, topics, packed = plain.fields(state, 4, "evidence")
        marked = _ids(marked, _MARKED, _MARKED_BYTES)
        others = _ids(others, _OTHERS, _OTHERS_BYTES)
        topics = _ids(topics, _POSITIONS, _TOPICS_BYTES)
        packed = plain.raw(packed, _row.size * _POSITIONS, "evidence.positions", multiple_of=_row.size)
        keys, firsts, spans = array("q"), array("q"), array("I")
        for topic, partition, first, span in _row.iter_unpack(packed):
            if topic >= len(topics) or first > _LAST_OFFSET - span:
                raise StateError("evidence: saved position points nowhere")
            keys.append(topic << 32 | partition)
            firsts.append(first)
            spans.append(span)
        if len(set(keys)) < len(keys) or len(set(topics)) < len(topics):
            raise StateError("evidence: saved positions repeat")
        self._marked, self._others, self._topics = marked, others, topics
        self._keys, self._firsts, self._spans = keys, firsts, spans


def _kept(ids: tuple[str, ...], event_id: str, most: int, most_bytes: int) -> tuple[str, ...]:
    """The ids with one more, without the oldest until number and bytes fit."""
    ids = (*ids[-most + 1 :], event_id)
    joined = "".join(ids)
    size = len(joined) if joined.isascii() else len(joined.encode("utf-8", "replace"))
    while size > most_bytes:
        size -= len(ids[0].encode("utf-8", "replace"))
        ids = ids[1:]
    return ids


def _ids(value: Any, most: int, most_bytes: int) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or len(value) > most:
        raise StateError(f"evidence: saved value must be a list of at most {most} strings")
    names = tuple(plain.text(one, most_bytes, "evidence") for one in value)
    try:
        size = sum(len(one.encode()) for one in names)
    except UnicodeEncodeError:
        raise StateError("evidence: saved string is not text") from None
    if size > most_bytes:
        raise StateError(f"evidence: saved strings have {size} bytes, more than {most_bytes}")
    return names
