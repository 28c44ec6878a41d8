"""Which text of an exchange is read, and how much of it."""

from typing import Any, NamedTuple

from detectors.events import Message
from detectors.observation import ROLE_ASSISTANT, ROLE_OTHER, ROLE_TOOL, ROLE_USER

SYSTEM_CHARS = 1024  # of system text that is searched for marks; instructions stand at its beginning

_ROLES = {"user": ROLE_USER, "tool": ROLE_TOOL, "function": ROLE_TOOL, "assistant": ROLE_ASSISTANT}
_SYSTEM = ("system", "developer")


class Text(NamedTuple):
    """What is read of one exchange.

    `new` is what is new in it, the messages after the last answer, cut to the read limit; `chars`
    its length before the cut; `system` the instructions, cut likewise.
    """

    new: str
    chars: int
    system: str
    turns: int
    role: int


def _pieces(content: str | list[Any] | None) -> list[str]:
    """Text parts of a message; parts of other types carry no text we read."""
    if isinstance(content, str):
        return [content]
    if content is None:
        return []
    found = []
    for part in content:
        if isinstance(part, dict):
            text = part.get("text")
            if part.get("type", "text") in ("text", "input_text") and isinstance(text, str):
                found.append(text)
        elif isinstance(part, str):
            found.append(part)
    return found


def _join(messages: list[Message], limit: int) -> tuple[str, int]:
    """Text of messages up to `limit` characters, and its whole length; never builds more than the limit."""
    taken: list[str] = []
    room, chars = limit, 0
    for message in messages:
        for piece in _pieces(message.content):
            chars += len(piece)
            if room > 0:
                taken.append(piece[:room])
                room -= len(piece) + 1
    return "\n".join(taken)[:limit], chars


def select(messages: list[Message], limit: int) -> Text:
    """The text of an exchange that is read.

    Parameters
    ----------
    messages : list of Message
        As the event has them, history included; at least one.
    limit : int
        Characters of new text to read at most.
    """
    turns = 0
    instructions: list[Message] = []
    for message in messages:
        if message.role == "user":
            turns += 1
        elif message.role in _SYSTEM:
            instructions.append(message)
    first_new = _after_last_answer(messages)
    new = [message for message in messages[first_new:] if message.role not in _SYSTEM] or messages[-1:]
    text, chars = _join(new, limit)
    system = _join(instructions, limit)[0] if instructions else ""
    return Text(text, chars, system, turns, _ROLES.get(messages[-1].role, ROLE_OTHER))


def _after_last_answer(messages: list[Message]) -> int:
    for at in range(len(messages) - 1, -1, -1):
        if messages[at].role == "assistant":
            return at + 1 if at + 1 < len(messages) else at
    return 0
