"""What an account's alert can point to: a few event ids and where the events can be read again."""

import struct
from typing import Any

from detectors.alerts import Position
from detectors.errors import StateError
from detectors.primitives import plain

_MARKED, _MARKED_BYTES = 8, 448  # newest exchanges with an elicitation mark or a probing parameter
_OTHERS, _OTHERS_BYTES = 3, 192  # newest other ones; the one that raises an alert comes on top
_POSITIONS = 16
_TOPICS_BYTES = 256
_row = struct.Struct("<BIqI")
_FARTHEST = 0xFFFFFFFF
_LAST_OFFSET = (1 << 63) - 1


class Trail:
    """Evidence of one account's window, bounded in bytes.

    Notes
    -----
    State: at most 640 bytes of event ids, 256 bytes of topic names and 272 bytes of positions.
    An id that does not fit alone is not kept; a topic name too long keeps its end.
    """

    __slots__ = ("_marked", "_others", "_positions")

    def __init__(self) -> None:
        self._marked: list[str] = []
        self._others: list[str] = []
        self._positions: dict[tuple[str, int], list[int]] = {}  # first and last offset, oldest first

    def add(self, event_id: str, telling: bool, topic: str, partition: int, offset: int) -> None:
        """Take one exchange; `telling` ones are kept longer."""
        if telling:
            _keep(self._marked, event_id, _MARKED, _MARKED_BYTES)
        else:
            _keep(self._others, event_id, _OTHERS, _OTHERS_BYTES)
        held = self._positions.get((topic, partition))
        if held is None:
            self._open(topic, partition, offset)
        elif offset > held[1]:
            held[1] = min(offset, held[0] + _FARTHEST)
        elif offset < held[0]:
            held[0] = max(offset, held[1] - _FARTHEST)

    def _open(self, topic: str, partition: int, offset: int) -> None:
        name = topic
        while len(name.encode("utf-8", "replace")) > _TOPICS_BYTES:
            name = "…" + name[-(len(name) // 2) :]
        if name != topic and (name, partition) in self._positions:
            held = self._positions[name, partition]
            self._positions[name, partition] = [min(held[0], offset), max(held[1], offset)]
            return
        self._positions[name, partition] = [offset, offset]
        while (
            len(self._positions) > _POSITIONS
            or sum(len(one.encode("utf-8", "replace")) for one in self._topics()) > _TOPICS_BYTES
        ):
            del self._positions[next(iter(self._positions))]

    def _topics(self) -> list[str]:
        return list(dict.fromkeys(topic for topic, _ in self._positions))

    def event_ids(self, raised_by: str) -> list[str]:
        """Ids to look at, the one that raised the alert first, then telling ones, newest first."""
        return list(dict.fromkeys((raised_by, *reversed(self._marked), *reversed(self._others))))

    def positions(self) -> list[Position]:
        """Ranges of offsets that contain the window's exchanges, by topic and partition."""
        return [
            Position(topic, partition, first, last)
            for (topic, partition), (first, last) in sorted(self._positions.items())
        ]

    def snapshot(self) -> list[Any]:
        """Ids, topics, and packed positions."""
        topics = self._topics()
        packed = b"".join(
            _row.pack(topics.index(topic), partition, first, last - first)
            for (topic, partition), (first, last) in self._positions.items()
        )
        return [list(self._marked), list(self._others), topics, packed]

    def restore(self, state: Any) -> None:
        """Replace the state by a snapshot's; raises `StateError`."""
        marked, others, topics, packed = plain.fields(state, 4, "evidence")
        marked = _ids(marked, _MARKED, _MARKED_BYTES)
        others = _ids(others, _OTHERS, _OTHERS_BYTES)
        topics = _ids(topics, _POSITIONS, _TOPICS_BYTES)
        positions: dict[tuple[str, int], list[int]] = {}
        packed = plain.raw(packed, _row.size * _POSITIONS, "evidence.positions", multiple_of=_row.size)
        for topic, partition, first, length in _row.iter_unpack(packed):
            if topic >= len(topics) or first > _LAST_OFFSET - length:
                raise StateError("evidence: saved position points nowhere")
            positions[topics[topic], partition] = [first, first + length]
        if len(positions) * _row.size != len(packed) or len(set(topics)) != len(topics):
            raise StateError("evidence: saved positions repeat")
        self._marked, self._others, self._positions = marked, others, positions


def _keep(ids: list[str], event_id: str, most: int, most_bytes: int) -> None:
    """Append, then forget the oldest until number and bytes fit."""
    ids.append(event_id)
    if len(ids) > most:
        del ids[0]
    while len("".join(ids).encode("utf-8", "replace")) > most_bytes:
        del ids[0]


def _ids(value: Any, most: int, most_bytes: int) -> list[str]:
    if not isinstance(value, list | tuple) or len(value) > most:
        raise StateError(f"evidence: saved value must be a list of at most {most} strings")
    names = [plain.text(one, most_bytes, "evidence") for one in value]
    try:
        size = sum(len(one.encode()) for one in names)
    except UnicodeEncodeError:
        raise StateError("evidence: saved string is not text") from None
    if size > most_bytes:
        raise StateError(f"evidence: saved strings have {size} bytes, more than {most_bytes}")
    return names
