"""Which text of an exchange is read, and how much of it."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from detectors.events import Message
from detectors.observation import ROLE_ASSISTANT, ROLE_OTHER, ROLE_TOOL, ROLE_USER

_ROLES = {"user": ROLE_USER, "tool": ROLE_TOOL, "function": ROLE_TOOL, "assistant": ROLE_ASSISTANT}
_SYSTEM = ("system", "developer")
_TEXT_PARTS = ("text", "input_text")


class Text(NamedTuple):
    """What is read of one exchange.

    Attributes
    ----------
    new : str
        The messages after the last answer, joined by newlines and cut to the read limit.
    chars : int
        Its length before the cut. Characters.
    system : str
        Instructions, joined and cut likewise.
    turns : int
        Messages of the user.
    role : int
        Who spoke last.
    """

    new: str
    chars: int
    system: str
    turns: int
    role: int


def select(messages: Sequence[Message], limit: int) -> Text:
    """The text of an exchange that is read.

    Parameters
    ----------
    messages : sequence of Message
        As the event has them, history included; at least one.
    limit : int
        Most characters to read, of the new text and of the instructions. No longer string is built.
    """
    turns = 0
    instructions: list[Message] = []
    new: list[Message] = []
    for message in messages:
        role = message.role
        if role == "assistant":
            new = []
        elif role in _SYSTEM:
            instructions.append(message)
        else:
            new.append(message)
            turns += role == "user"
    last = messages[-1]
    # Where an answer stands last the exchange continues it, and it is what is new.
    text, chars = _read(new or (last,), limit)
    system = _read(instructions, limit)[0] if instructions else ""
    return Text(text, chars, system, turns, _ROLES.get(last.role, ROLE_OTHER))


def _read(messages: Sequence[Message], limit: int) -> tuple[str, int]:
    """Text of messages up to `limit` characters, and its whole length."""
    if len(messages) == 1 and isinstance(content := messages[0].content, str):
        return content[:limit], len(content)
    taken: list[str] = []
    chars = 0
    for piece in _pieces(messages):
        if chars <= limit:
            taken.append(piece[: limit - chars])
        chars += len(piece) + 1
    return "\n".join(taken), max(chars - 1, 0)


def _pieces(messages: Iterable[Message]) -> Iterable[str]:
    """Texts in messages; parts of other types carry none that is read."""
    for message in messages:
        content: str | list[Any] | None = message.content
        if isinstance(content, str):
            yield content
        elif content is not None:
            for part in content:
                if isinstance(part, str):
                    yield part
                elif isinstance(part, dict) and part.get("type", "text") in _TEXT_PARTS:
                    text = part.get("text")
                    if isinstance(text, str):
                        yield text
