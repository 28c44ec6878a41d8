"""Composes accounts into one stream of request events, in event-time order, from one seed.

For each account the plan comes first: who it is, when it asks, how its exchanges fall into
conversations. The text is filled in afterwards and changes nothing of the plan but the input tokens
that follow from its length, so nothing but the text tells hidden extraction from ordinary use.
"""

import csv
import dataclasses
import functools
import io
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from streams.simulate import pacing
from streams.simulate.grammar import grammar
from streams.simulate.pacing import Timeline, Window
from streams.simulate.profiles import Profile, World, merge_params, of_a_machine, of_a_person
from streams.simulate.source import (
    AGENT,
    BATCH,
    COVERED,
    MODES,
    OVERT,
    PACED,
    PERSON,
    PROBING,
    SHARDED,
    TEMPLATED,
    PromptRun,
    PromptSource,
    Text,
    Turn,
)
from streams.simulate.spec import SimulationSpec

COLUMNS = ("account_id", "label", "kind", "campaign")
"""Columns of a labels file."""

_SCHEMA = "extraction.request/1"

# Machines ask a few times as much as people do.
_FACTORS: Mapping[str, float] = {TEMPLATED: 3.0, BATCH: 4.0, AGENT: 2.0, OVERT: 3.0}
_FACTOR_SPREAD = 0.8  # spread at which the factors hold in full; narrower populations shrink them too

_HISTORY_MESSAGES = 8  # clients keep the last few messages
_HISTORY_CHARS = 1500  # and shorten old ones
_REPLIES = 512  # different earlier answers; they carry no meaning
_MOST_TOKENS = 8192
_MOST_CONTEXT = 120_000


class Label(NamedTuple):
    """What an account really is.

    Attributes
    ----------
    account_id : str
        The account.
    label : str
        `benign` or `extraction`.
    kind : str
        Account class of benign ones, extraction kind of the others.
    campaign : str
        Campaign of a sharded account, else empty.
    mode : str
        How it extracts, one of `MODES`; empty for benign ones.
    """

    account_id: str
    label: str
    kind: str
    campaign: str
    mode: str


def labels_csv(labels: Sequence[Label]) -> str:
    """Labels as the CSV file that `evaluate` reads, by account id."""
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n")
    write.writerow(COLUMNS)
    write.writerows(sorted(label[: len(COLUMNS)] for label in labels))
    return out.getvalue()


class _Role(NamedTuple):
    """What an account is to be: a benign class or an extraction mode, and the campaign it belongs to."""

    role: str
    kind: str
    campaign: int  # -1 for benign accounts; every extracting account is of a campaign, most of one account


@dataclasses.dataclass(slots=True)
class _Plan:
    """One account before it has text."""

    role: _Role
    profile: Profile
    timeline: Timeline
    harvesting: frozenset[int] | None  # conversations of a covered account that are not cover


class Composition:
    """The events of one specification; each iteration gives the same ones anew.

    Attributes
    ----------
    labels : list of Label
        One per account.
    events : int
        How many events there are.
    reused : dict of str to int
        Prompt sources that were used up, and how often, in the latest iteration.
    """

    def __init__(self, spec: SimulationSpec, prompts: PromptSource) -> None:
        weights, kinds = spec.check_against(prompts)
        self._spec = spec
        self._prompts = prompts
        rng = random.Random(f"{spec.seed}/roster")
        roles, members = _roster(spec, weights, kinds, rng)
        self._members = members
        names = [f"campaign-{rng.getrandbits(40):010x}" for _ in members]
        world = World(random.Random(f"{spec.seed}/world"), spec.accounts)
        counts = _counts(spec, roles)
        self._plans = [
            _plan(spec, world, number, role, count)
            for number, (role, count) in enumerate(zip(roles, counts, strict=True))
        ]
        self.labels = [
            Label(
                plan.profile.account_id,
                "benign" if plan.role.campaign < 0 else "extraction",
                plan.role.kind,
                names[plan.role.campaign] if plan.role.role == SHARDED else "",
                plan.role.role if plan.role.campaign >= 0 else "",
            )
            for plan in self._plans
        ]
        self.events = sum(len(plan.timeline.times) for plan in self._plans)
        self.reused: dict[str, int] = {}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        run = self._prompts.run()
        texts = _Texts(self._spec.seed, self._plans, self._members, run)
        replies = _replies(self._spec.seed)
        writers: list[_Writer | None] = [None] * len(self._plans)
        for number in self._order():
            writer = writers[number]
            if writer is None:
                rng = random.Random(f"{self._spec.seed}/exchanges/{number}")
                writer = writers[number] = _Writer(self._plans[number], rng, replies, texts.of(number))
            yield writer.event()
            if writer.done:
                writers[number] = _DONE
        self.reused = dict(getattr(run, "reused", {}))

    def __len__(self) -> int:
        return self.events

    def _order(self) -> Iterator[int]:
        """Account of each event, in event-time order."""
        sizes = [len(plan.timeline.times) for plan in self._plans]
        times = np.concatenate([np.asarray(plan.timeline.times, dtype=np.int64) for plan in self._plans])
        accounts = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        ordered = accounts[np.lexsort((accounts, times))]
        del times, accounts
        for chunk in np.array_split(ordered, max(1, len(ordered) // 65_536)):
            yield from chunk.tolist()


def compose(spec: SimulationSpec, prompts: PromptSource) -> Composition:
    """Events and labels of a specification.

    Parameters
    ----------
    spec : SimulationSpec
        What to compose.
    prompts : PromptSource
        Where text comes from.

    Returns
    -------
    Composition
        Iterate over it for the events, plain dicts in event-time order; `labels` says who is who.

    Raises
    ------
    SpecError
        The specification asks for a class or kind without prompts.
    """
    return Composition(spec, prompts)


# -- who there is ----------------------------------------------------------------------------------


def _shares(total: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers in proportion to weights that add up to `total` (largest remainder)."""
    whole = sum(weights.values())
    exact = {name: total * weight / whole for name, weight in weights.items()}
    counts = {name: int(share) for name, share in exact.items()}
    rest = total - sum(counts.values())
    for name in sorted(exact, key=lambda name: counts[name] - exact[name])[:rest]:
        counts[name] += 1
    return counts


def _roster(
    spec: SimulationSpec, classes: Mapping[str, float], kinds: Sequence[str], rng: random.Random
) -> tuple[list[_Role], list[list[int]]]:
    """Roles of all accounts in random order, and the accounts of each campaign."""
    extracting = round(spec.accounts * spec.extraction_share)
    if spec.extraction_share > 0:
        extracting = max(1, extracting)
    if not classes:
        extracting = spec.accounts
    roles: list[_Role] = []
    if classes:
        for name, count in _shares(spec.accounts - extracting, classes).items():
            roles += [_Role(name, name, -1)] * count
    modes = {name: spec.modes[name] for name in MODES if spec.modes.get(name, 0) > 0}
    hidden_kinds = [kind for kind in kinds if kind != PROBING]
    if not hidden_kinds:
        modes = {name: weight for name, weight in modes.items() if name in (OVERT, PACED)}
    campaigns = 0
    for mode, count in (_shares(extracting, modes) if extracting else {}).items():
        # Every kind as often as the others; which comes first is left to chance.
        deck = list(hidden_kinds if mode in (COVERED, SHARDED) else kinds)
        rng.shuffle(deck)
        sizes = [1] * count
        if mode == SHARDED and count:
            groups = max(1, round(count / spec.shards))
            sizes = [count // groups + (at < count % groups) for at in range(groups)]
        for at, size in enumerate(sizes):
            roles += [_Role(mode, deck[at % len(deck)], campaigns)] * size
            campaigns += 1
    rng.shuffle(roles)
    members: list[list[int]] = [[] for _ in range(campaigns)]
    for number, role in enumerate(roles):
        if role.campaign >= 0:
            members[role.campaign].append(number)
    return roles, members


def _weights(spec: SimulationSpec, roles: Sequence[_Role]) -> list[float]:
    """Exchanges of each account, relative to a median person's."""
    rng = random.Random(f"{spec.seed}/counts")
    exponent = min(1.0, spec.spread / _FACTOR_SPREAD)
    return [rng.lognormvariate(0, spec.spread) * _FACTORS.get(role.role, 1.0) ** exponent for role in roles]


def _bounded(spec: SimulationSpec, weights: Sequence[float], exchanges: float) -> list[int]:
    low, high = spec.min_exchanges, spec.max_exchanges
    return [min(max(round(exchanges * weight), low), high) for weight in weights]


def _counts(spec: SimulationSpec, roles: Sequence[_Role]) -> list[int]:
    return _bounded(spec, _weights(spec, roles), spec.exchanges)


def exchanges_for(spec: SimulationSpec, prompts: PromptSource, events: int) -> float:
    """The median person's exchanges with which the specification gives about `events` events.

    Parameters
    ----------
    spec : SimulationSpec
        Its `exchanges` does not matter.
    prompts : PromptSource
        Decides which classes and kinds there can be.
    events : int
        Events wanted; within what the bounds per account allow.
    """
    classes, kinds = spec.check_against(prompts)
    roles, _ = _roster(spec, classes, kinds, random.Random(f"{spec.seed}/roster"))
    weights = _weights(spec, roles)
    low, high = 1.0, float(spec.max_exchanges)
    for _ in range(60):
        middle = (low + high) / 2
        if sum(_bounded(spec, weights, middle)) < events:
            low = middle
        else:
            high = middle
    return high


# -- plans, blind to text --------------------------------------------------------------------------

_MACHINES: Mapping[str, Callable[[random.Random, int, Window], Timeline]] = {
    TEMPLATED: pacing.like_an_application,
    BATCH: pacing.like_a_job,
    AGENT: pacing.like_an_agent,
    OVERT: pacing.like_a_harvest,
}


def _plan(spec: SimulationSpec, world: World, number: int, role: _Role, count: int) -> _Plan:
    rng = random.Random(f"{spec.seed}/plan/{number}")
    window = pacing.active_window(rng, Window(spec.start_ms, spec.start_ms + spec.span_ms), spec.turnover)
    pace = _MACHINES.get(role.role, pacing.like_a_person)
    timeline = pace(rng, count, window)
    first_ms = timeline.times[0]
    if role.role in _MACHINES:
        profile = of_a_machine(rng, world, first_ms, tools=role.role == AGENT)
    else:
        profile = of_a_person(rng, world, first_ms)
    if role.role == SHARDED and random.Random(f"{spec.seed}/linked/{number}").random() < spec.linked:
        card = f"{random.Random(f'{spec.seed}/card/{role.campaign}').getrandbits(64):016x}"
        facts = {**profile.fixed.get("account", {}), "payment_fingerprint": card}
        profile = profile._replace(fixed={**profile.fixed, "account": facts})
    harvesting = None
    if role.role == COVERED:
        wanted = max(1, round((1 - spec.cover) * count))
        harvesting = _conversations(random.Random(f"{spec.seed}/cover/{number}"), timeline, wanted)
    return _Plan(role, profile, timeline, harvesting)


def _conversations(rng: random.Random, timeline: Timeline, wanted: int) -> frozenset[int]:
    """Conversations, chosen at random, that have `wanted` exchanges together or a little fewer."""
    order = list(range(len(timeline.turns)))
    rng.shuffle(order)
    chosen: set[int] = set()
    total = 0
    for conversation in order:
        if total + timeline.turns[conversation] <= wanted:
            chosen.add(conversation)
            total += timeline.turns[conversation]
    return frozenset(chosen or {min(order, key=lambda c: timeline.turns[c])})


# -- text ------------------------------------------------------------------------------------------


class _Mixed:
    """Cover traffic and extraction in one account, by conversation."""

    def __init__(self, cover: Text, harvest: Text, harvesting: frozenset[int]) -> None:
        self._cover = cover
        self._harvest = harvest
        self._harvesting = harvesting
        self._next = 0

    def conversation(self, turns: int) -> list[Turn]:
        text = self._harvest if self._next in self._harvesting else self._cover
        self._next += 1
        return text.conversation(turns)


class _Texts:
    """Opens the text of accounts when they first speak; a campaign's accounts share out one set."""

    def __init__(
        self, seed: int, plans: Sequence[_Plan], members: Sequence[Sequence[int]], run: PromptRun
    ) -> None:
        self._seed = seed
        self._plans = plans
        self._members = members
        self._run = run
        self._dealt: dict[int, Text] = {}

    def of(self, number: int) -> Text:
        plan = self._plans[number]
        total = len(plan.timeline.times)
        rng = random.Random(f"{self._seed}/text/{number}")
        if plan.role.campaign < 0:
            return self._run.benign(plan.role.role, total, rng)
        if number not in self._dealt:
            self._deal(plan.role)
        harvest = self._dealt.pop(number)
        if plan.harvesting is None:
            return harvest
        cover = self._run.benign(PERSON, max(1, total - _harvested(plan)), rng)
        return _Mixed(cover, harvest, plan.harvesting)

    def _deal(self, role: _Role) -> None:
        members = self._members[role.campaign]
        rng = random.Random(f"{self._seed}/campaign/{role.campaign}")
        exchanges = [_harvested(self._plans[member]) for member in members]
        self._dealt.update(zip(members, self._run.extraction(role.kind, exchanges, rng), strict=True))


def _harvested(plan: _Plan) -> int:
    """Exchanges of an extracting account that are not cover."""
    if plan.harvesting is None:
        return len(plan.timeline.times)
    return sum(plan.timeline.turns[conversation] for conversation in plan.harvesting)


class _Replies(NamedTuple):
    """Earlier answers for histories."""

    answers: list[str]
    steps: list[str]


def _replies(seed: int) -> _Replies:
    draw = random.Random(f"{seed}/replies").random
    rules = grammar("common", "assistant")
    return _Replies(
        [rules.say("answer", draw) for _ in range(_REPLIES)],
        [rules.say("agent", draw) for _ in range(_REPLIES)],
    )


# -- events ----------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)  # events come in time order, so a minute comes back soon or never
def _minute(minute: int) -> str:
    return str(np.datetime64(minute, "m"))


def _rfc3339(time_ms: int) -> str:
    minute, rest = divmod(time_ms, 60_000)
    return f"{_minute(minute)}:{rest // 1000:02d}.{rest % 1000:03d}Z"


class _Talk:
    """A conversation under way."""

    __slots__ = ("at", "context", "history", "name", "remembered", "turns")

    def __init__(self, turns: list[Turn], name: str, context: float) -> None:
        self.turns = turns
        self.at = 0
        self.name = name
        self.context = context  # tokens of what is not on the bus
        self.remembered = 0.0  # tokens of earlier turns that the request does not repeat
        self.history: list[dict[str, str]] = []


class _Writer:
    """Writes the events of one account, one per call."""

    done: bool

    def __init__(self, plan: _Plan, rng: random.Random, replies: _Replies, text: Text) -> None:
        self._plan = plan
        self._rng = rng
        self._text = text
        self._replies = replies.steps if plan.role.role == AGENT else replies.answers
        self._probes = plan.role.role in (OVERT, PACED)
        self._talks: dict[int, _Talk] = {}
        self._at = 0
        self.done = False

    def event(self) -> dict[str, Any]:
        """The next event. Draws for metadata do not depend on the text."""
        plan, profile, rng = self._plan, self._plan.profile, self._rng
        draw = rng.random
        at = self._at
        time_ms = plan.timeline.times[at]
        talk = self._talk(plan.timeline.conversations[at])
        turn = talk.turns[talk.at]
        talk.at += 1

        messages, chars = self._messages(talk, turn)
        params = profile.params[int(draw() * len(profile.params))] if profile.params else None
        output = int(rng.lognormvariate(profile.output_mu, profile.output_sigma)) + 1
        retrieved = rng.lognormvariate(6.4, 1.0) if draw() < profile.retrieves else 0.0
        tokens = talk.context + retrieved + talk.remembered + chars / profile.chars_per_token
        if params is not None:
            params = dict(params)
        if turn.params is not None and self._probes:
            params = merge_params(params, turn.params)
        most = (params or {}).get("max_tokens") or _MOST_TOKENS
        calls = draw() < 0.5

        event: dict[str, Any] = {
            "schema": _SCHEMA,
            "event_id": f"req_{rng.getrandbits(96):024x}",
            "time": _rfc3339(time_ms),
            "account_id": profile.account_id,
            **profile.fixed,
            "model": profile.models[int(draw() * len(profile.models))],
            "messages": messages,
        }
        if profile.keys:
            event["api_key_id"] = profile.keys[int(draw() * len(profile.keys))]
        if profile.conversation_ids:
            event["conversation_id"] = talk.name
        if params is not None:
            event["params"] = params
        if profile.usage:
            event["usage"] = {
                "input_tokens": min(int(tokens) + 1, _MOST_CONTEXT),
                "output_tokens": min(output, most),
            }
        if profile.finish:
            tools = bool((params or {}).get("tools")) and calls
            event["finish_reason"] = "length" if output > most else "tool_calls" if tools else "stop"
        if profile.clients:
            event["client"] = profile.clients[int(draw() * len(profile.clients))].copy()

        self._remember(talk, turn, min(output, most))
        if talk.at == len(talk.turns):
            del self._talks[plan.timeline.conversations[at]]
        self._at = at + 1
        self.done = self._at == len(plan.timeline.times)
        return event

    def _talk(self, conversation: int) -> _Talk:
        talk = self._talks.get(conversation)
        if talk is None:
            rng = self._rng
            turns = self._text.conversation(self._plan.timeline.turns[conversation])
            context = rng.lognormvariate(self._plan.profile.context_mu, 0.7)
            talk = self._talks[conversation] = _Talk(turns, f"conv_{rng.getrandbits(64):016x}", context)
        return talk

    def _messages(self, talk: _Talk, turn: Turn) -> tuple[list[dict[str, str]], int]:
        messages: list[dict[str, str]] = []
        if turn.system is not None:
            messages.append({"role": "system", "content": turn.system})
        messages += talk.history
        messages.append({"role": turn.role, "content": turn.text})
        chars = 0
        for message in messages:
            chars += len(message["content"])
        return messages, chars

    def _remember(self, talk: _Talk, turn: Turn, output: int) -> None:
        reply = self._replies[int(self._rng.random() * len(self._replies))]
        profile = self._plan.profile
        if profile.full_history:
            said = {"role": turn.role, "content": turn.text[:_HISTORY_CHARS]}
            talk.history = [*talk.history, said, {"role": "assistant", "content": reply}][-_HISTORY_MESSAGES:]
        else:
            talk.remembered += output + len(turn.text) / profile.chars_per_token


class _Done(_Writer):
    """Stands for accounts that have no more events, so that what they held is free."""

    def __init__(self) -> None:
        self.done = True


_DONE = _Done()
