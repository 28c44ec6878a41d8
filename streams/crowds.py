"""Ordinary pools for the reference: accounts that share a link honestly, their exchanges in one stream.

Customers of one product, a team with one agent, people behind one network or in one organisation.
"""

import math
import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from detectors.calibration import LOOKS
from detectors.observation import Observation

Member = tuple[str, Sequence[Observation]]
"""The unit that an account's prompts are of, and its exchanges."""

MADE_UP = "mixed"
_LARGEST = 100  # accounts of a pool
_EXCHANGES = (5, 20, 60, LOOKS[-1])  # at most, of one account
_MIXED_GROUPS = 10  # left out one at a time, as kinds of their own


class Crowd(NamedTuple):
    """One pool.

    Attributes
    ----------
    group : str
        The kind: the source of all its accounts, or one of some groups of mixed pools.
    unit : str
        Of one of its members: what is left out when its limits are learned.
    members : int
    observations : list of Observation
        Of all members in event-time order, as many as a window has.
    """

    group: str
    unit: str
    members: int
    observations: list[Observation]


def merged(accounts: Sequence[Sequence[Observation]]) -> list[Observation]:
    """Exchanges of several accounts as one stream, in the order in which they are applied."""
    together = [seen for account in accounts for seen in account]
    together.sort(key=lambda seen: (seen.order_ms, seen.event_id, seen.account))
    return together[: LOOKS[-1]]


def ordinary_crowds(
    accounts: Mapping[str, Sequence[Member]],
    *,
    seed: int,
    each: int,
    mixed: int,
    most_of: Mapping[str, int] | None = None,
) -> list[Crowd]:
    """Pools of ordinary accounts, from two to a hundred members, each with few or many exchanges.

    Parameters
    ----------
    accounts : mapping of str to sequence of Member
        By source.
    seed : int
    each : int
        Pools of each source's accounts alone. Count.
    mixed : int
        Pools of accounts of several sources. Count.
    most_of : mapping of str to int, optional
        Other counts than `each`, by source.
    """
    rng = random.Random(f"crowds/{seed}")
    names = sorted(name for name, of in accounts.items() if len(of) > 1)
    crowds = []
    for name in names:
        for _ in range((most_of or {}).get(name, each)):
            members = rng.sample(list(accounts[name]), min(len(accounts[name]), _size(rng)))
            crowds.append(_crowd(name, members, rng))
    for number in range(mixed if len(names) > 1 else 0):
        among = rng.sample(names, rng.randrange(2, len(names) + 1))
        members = [rng.choice(accounts[rng.choice(among)]) for _ in range(max(3, _size(rng)))]
        crowds.append(_crowd(f"{MADE_UP}/{number % _MIXED_GROUPS}", members, rng))
    return crowds


def _size(rng: random.Random) -> int:
    return round(math.exp(rng.uniform(math.log(2), math.log(_LARGEST))))


def _crowd(group: str, members: Sequence[Member], rng: random.Random) -> Crowd:
    most = rng.choice(_EXCHANGES)
    together = merged([account[:most] for _, account in members])
    return Crowd(group, members[0][0], len(members), together)
