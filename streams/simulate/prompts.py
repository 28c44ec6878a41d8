"""Prompts from files (`*.jsonl.gz`), one row per prompt, grouped into sources, in their order.

Rows carry `source`, `label`, `kind`, `conversation`, `turn`, `user`, `text`, `system` and sometimes
`group`; other keys are ignored.
"""

import gzip
import itertools
import random
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from streams.errors import StreamsError
from streams.simulate.source import AGENT, BATCH, CLASSES, OTHER_ABUSE, PERSON, TEMPLATED, Text, Turn

_PATTERN = "*.jsonl.gz"
_MAX_LINE_BYTES = 4 << 20  # a row of the format holds at most 8,000 characters of text
_MIN_RUN = 8  # rows; groups that come in shorter runs are topics, not templates

_CLASS_OF = {
    "human_chat": PERSON,
    "human_instruction": PERSON,
    "templated_customer": TEMPLATED,
    "tool_calling": TEMPLATED,
    "customer_utterance": TEMPLATED,
    "classifier_input": BATCH,
    "coding_agent": AGENT,
}
"""Benign kinds to account classes; any other kind is text of people."""

_ANSWERS_OF_TOOLS = {"agent_observation": "coding_agent", "self_chat_tool_result": "self_chat"}
"""Kinds whose rows are what a tool answered, to the kind of the conversation they are part of."""


class PromptFileError(StreamsError):
    """A prompt file or folder cannot be used; names the file, the line and the fix."""


class _Row(msgspec.Struct):
    source: str
    label: Literal["benign", "extraction", "other_abuse"]
    kind: str
    text: str
    conversation: str | None = None
    user: str | None = None
    system: str | None = None
    group: str | None = None


class _Prompt(NamedTuple):
    text: str
    role: str
    system: str | None
    conversation: str | None
    user: str | None
    group: str | None


class Limits(NamedTuple):
    """How much is kept in memory; what is beyond is left out and counted.

    Attributes
    ----------
    rows : int
        Most rows of one source, the first ones. Count.
    text_chars : int
        Longest prompt or system message; the rest is cut off. Characters.
    total_chars : int
        All prompts together. Characters.
    """

    rows: int = 50_000
    text_chars: int = 16_000
    total_chars: int = 256_000_000


DEFAULT_LIMITS = Limits()


class FilePrompts:
    """Prompts of all files of a folder.

    Parameters
    ----------
    directory : Path
        Folder with `*.jsonl.gz`; other files in it are not touched.
    other_abuse : bool
        Also take rows labelled `other_abuse`, as an account class of its own.
    limits : Limits
        Bounds on memory.

    Attributes
    ----------
    left_out : dict of str to int
        Rows of each source that were not kept for lack of room.

    Raises
    ------
    PromptFileError
        No such folder, no files in it, a damaged file, or a row that is not of the format.
    """

    def __init__(
        self, directory: Path, *, other_abuse: bool = False, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self.left_out: dict[str, int] = {}
        pools: dict[tuple[str, str, str], list[_Prompt]] = {}
        chars = 0
        for path, number, row in _rows(directory):
            if row.label == OTHER_ABUSE and not other_abuse:
                continue
            if not row.source or not row.kind:
                raise PromptFileError(f"{path}:{number}: source and kind must not be empty")
            kept = pools.setdefault(_place(row), [])
            if len(kept) >= limits.rows or chars >= limits.total_chars:
                self.left_out[row.source] = self.left_out.get(row.source, 0) + 1
                continue
            prompt = _Prompt(
                row.text[: limits.text_chars],
                "tool" if row.kind in _ANSWERS_OF_TOOLS else "user",
                row.system[: limits.text_chars] if row.system else None,
                row.conversation,
                row.user,
                row.group,
            )
            chars += len(prompt.text) + len(prompt.system or "")
            kept.append(prompt)
        self._pools: dict[str, dict[str, list[Pool]]] = {"benign": {}, "extraction": {}}
        for (label, kind, source), prompts in sorted(pools.items()):
            pool = Pool(source, *_blocks(prompts, by_owner=label == "benign" and kind != BATCH))
            self._pools[label].setdefault(kind, []).append(pool)
        if not any(self._pools.values()):
            raise PromptFileError(f"{directory}: its files hold no prompts; see --prompts in the help")

    @property
    def classes(self) -> tuple[str, ...]:
        """Benign classes there is text for."""
        found = self._pools["benign"]
        return tuple(name for name in (*CLASSES, OTHER_ABUSE) if name in found)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Extraction kinds there is text for."""
        return tuple(sorted(self._pools["extraction"]))

    def run(self) -> "FileRun":
        """A run over all prompts, none of them used yet."""
        return FileRun(self._pools["benign"], self._pools["extraction"])


def _place(row: _Row) -> tuple[str, str, str]:
    """Label, class or kind, and source under which a row is kept."""
    kind = _ANSWERS_OF_TOOLS.get(row.kind, row.kind)
    if row.label == "extraction":
        return "extraction", kind, row.source
    if row.label == OTHER_ABUSE:
        return "benign", OTHER_ABUSE, row.source
    return "benign", _CLASS_OF.get(kind, PERSON), row.source


def _rows(directory: Path) -> Iterator[tuple[Path, int, _Row]]:
    try:
        paths = sorted(directory.glob(_PATTERN)) if directory.is_dir() else None
    except OSError as error:
        raise PromptFileError(f"{directory}: {error.strerror}") from None
    if paths is None:
        raise PromptFileError(f"{directory}: no such folder; give one that holds {_PATTERN}")
    if not paths:
        raise PromptFileError(f"{directory}: holds no {_PATTERN}; prompts are gzip JSON Lines")
    decode = msgspec.json.Decoder(_Row).decode
    for path in paths:
        number = 0
        try:
            with gzip.open(path, "rb") as file:
                while line := file.readline(_MAX_LINE_BYTES + 1):
                    number += 1
                    if len(line) > _MAX_LINE_BYTES:
                        raise PromptFileError(
                            f"{path}:{number}: longer than {_MAX_LINE_BYTES} bytes; cut its text"
                        )
                    if not line.isspace():
                        yield path, number, decode(line)
        except msgspec.ValidationError as error:
            raise PromptFileError(
                f"{path}:{number}: {error}; a row needs source, label (benign, extraction or other_abuse), "
                "kind and text"
            ) from None
        except msgspec.DecodeError as error:
            raise PromptFileError(f"{path}:{number}: not JSON: {error}; write one object per line") from None
        except UnicodeDecodeError as error:
            raise PromptFileError(f"{path}:{number}: not UTF-8: {error.reason}; write it again") from None
        except (OSError, EOFError, zlib.error) as error:
            raise PromptFileError(
                f"{path}: damaged or not gzip after line {number}: {error}; get the file again"
            ) from None


def _blocks(prompts: list[_Prompt], *, by_owner: bool) -> tuple[list[_Prompt], list[int]]:
    """Prompts in the order in which they are handed out, and where each block that stays together begins.

    A block is what one person wrote, one template's rows, or one conversation, in this order; else one
    prompt. Templates are told from topics by how their rows lie: one after the other.
    """
    if by_owner and len({prompt.user for prompt in prompts}) > 2:
        first = {user: at for at, user in reversed(list(enumerate(prompt.user for prompt in prompts)))}
        prompts = sorted(prompts, key=lambda prompt: first[prompt.user])
        return prompts, _starts(prompts, lambda p: p.user)
    groups = _starts(prompts, lambda p: p.group)
    if by_owner and 1 < len(groups) <= len(prompts) / _MIN_RUN:
        return prompts, groups
    return prompts, _starts(prompts, lambda p: p.conversation)


def _starts(prompts: list[_Prompt], key: Callable[[_Prompt], str | None]) -> list[int]:
    starts = [0]
    for at, (before, after) in enumerate(itertools.pairwise(prompts), start=1):
        if key(after) is None or key(after) != key(before):
            starts.append(at)
    return starts


class Pool:
    """The prompts of one source for one class or kind.

    Parameters
    ----------
    source : str
        Its name.
    prompts : list of _Prompt
        In order.
    starts : list of int
        Where each block begins.
    """

    def __init__(self, source: str, prompts: list[_Prompt], starts: list[int]) -> None:
        self.source = source
        self.prompts = prompts
        self.starts = starts

    def __len__(self) -> int:
        return len(self.prompts)


class _Dealer:
    """Deals the prompts of a pool, each once until all were dealt."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.rounds = 0
        self._refill()

    def _refill(self) -> None:
        starts = self.pool.starts
        self.left = len(self.pool)
        self._from = list(starts)
        self._until = [*starts[1:], len(self.pool)]
        self._free = list(range(len(starts)))
        self._at = list(self._free)  # place of each block in `_free`, -1 when it was dealt

    @property
    def used(self) -> float:
        """How often the pool was handed out, in whole pools."""
        return self.rounds + 1 - self.left / len(self.pool)

    def deal(self, count: int, rng: random.Random, *, sampled: bool) -> list[_Prompt]:
        """Prompts nobody had yet; when the pool is used up it begins anew.

        Parameters
        ----------
        count : int
            How many.
        rng : random.Random
            Decides where to begin.
        sampled : bool
            Take blocks from everywhere instead of one after the other.
        """
        dealt: list[_Prompt] = []
        block = self._begin(count, rng)
        while True:
            take = min(count - len(dealt), self._until[block] - self._from[block])
            start = self._from[block]
            dealt.extend(self.pool.prompts[start : start + take])
            self.left -= take
            self._from[block] += take
            if self._from[block] == self._until[block]:
                self._drop(block)
            if len(dealt) == count:
                return dealt
            block = self._next(block, rng, sampled=sampled)

    def _begin(self, count: int, rng: random.Random) -> int:
        if not self._free:
            self.rounds += 1
            self._refill()
        # One person's or template's own prompts, where somebody has enough of them.
        for _ in range(16):
            block = self._free[rng.randrange(len(self._free))]
            if self._until[block] - self._from[block] >= count:
                return block
        return block

    def _next(self, block: int, rng: random.Random, *, sampled: bool) -> int:
        if not self._free:
            self.rounds += 1
            self._refill()
        following = block + 1
        if not sampled and following < len(self._at) and self._at[following] >= 0:
            return following
        return self._free[rng.randrange(len(self._free))]

    def _drop(self, block: int) -> None:
        at, last = self._at[block], self._free.pop()
        if last != block:
            self._free[at] = last
            self._at[last] = at
        self._at[block] = -1


class FileText:
    """Prompts of one account, in order; they begin again when there are no more.

    Parameters
    ----------
    prompts : list of _Prompt
        What it writes, at least one.
    """

    def __init__(self, prompts: list[_Prompt]) -> None:
        self._prompts = prompts
        self._at = 0

    def conversation(self, turns: int) -> list[Turn]:
        """The next prompts, as many as asked for; what belonged together follows one another."""
        said = []
        for _ in range(turns):
            prompt = self._prompts[self._at % len(self._prompts)]
            self._at += 1
            said.append(Turn(prompt.text, prompt.role, prompt.system))
        return said


class FileRun:
    """One run over prompt files: remembers which prompts were handed out.

    Parameters
    ----------
    benign, extraction : dict of str to list of Pool
        Pools by class and by kind.
    """

    def __init__(self, benign: dict[str, list[Pool]], extraction: dict[str, list[Pool]]) -> None:
        self._benign = {name: [_Dealer(pool) for pool in pools] for name, pools in benign.items()}
        self._extraction = {name: [_Dealer(pool) for pool in pools] for name, pools in extraction.items()}

    @property
    def reused(self) -> dict[str, int]:
        """How often each source was used up and begun anew."""
        dealers = itertools.chain(*self._benign.values(), *self._extraction.values())
        return {dealer.pool.source: dealer.rounds for dealer in dealers if dealer.rounds}

    def benign(self, account_class: str, exchanges: int, rng: random.Random) -> Text:
        """Text of one benign account: of one source, and of one person or template as far as that goes."""
        dealer = _choose(self._benign, account_class, exchanges, rng, "benign class")
        return FileText(dealer.deal(max(1, exchanges), rng, sampled=False))

    def extraction(self, kind: str, exchanges: Sequence[int], rng: random.Random) -> list[Text]:
        """Text of the accounts of one campaign: a slice or a sample of one source, shared out."""
        total = max(1, sum(exchanges))
        dealer = _choose(self._extraction, kind, total, rng, "extraction kind")
        dealt = dealer.deal(total, rng, sampled=rng.random() < 0.5)
        if len(exchanges) > 1 and rng.random() < 0.5:
            return [FileText(part or dealt) for part in _round_robin(dealt, exchanges)]
        cuts = [0, *itertools.accumulate(exchanges)]
        return [FileText(dealt[low:high] or dealt) for low, high in itertools.pairwise(cuts)]


def _choose(pools: dict[str, list[_Dealer]], name: str, count: int, rng: random.Random, what: str) -> _Dealer:
    """A source with enough unused prompts, large ones more often; else the one that was used least."""
    dealers = pools.get(name)
    if not dealers:
        raise ValueError(f"{what} {name!r} has no prompts; use one of {', '.join(sorted(pools))}")
    enough = [dealer for dealer in dealers if dealer.left >= count]
    if not enough:
        return min(dealers, key=lambda dealer: dealer.used)
    # Square root: variety over sources before size, yet small ones do not run out at once.
    weights = [len(dealer.pool) ** 0.5 for dealer in enough]
    return rng.choices(enough, weights)[0]


def _round_robin(dealt: list[_Prompt], exchanges: Sequence[int]) -> Iterable[list[_Prompt]]:
    """Deal like cards: one to each account in turn, to those that still want one."""
    parts: list[list[_Prompt]] = [[] for _ in exchanges]
    wanting = [at for at, wanted in enumerate(exchanges) if wanted]
    cards = iter(dealt)
    while wanting:
        for at in wanting:
            parts[at].append(next(cards))
        wanting = [at for at in wanting if len(parts[at]) < exchanges[at]]
    return parts
