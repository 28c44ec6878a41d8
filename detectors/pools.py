"""Pools: accounts that share a link, watched as one stream by the detectors that watch an account.

Load balancers spread a harvest over accounts so that each sends little. What ties the accounts
together, a payment card, a device, an organisation, a network, turns it into one long stream again.
"""

from typing import ClassVar

import xxhash

from detectors.alerts import Alert, Subject
from detectors.base import Plain
from detectors.calibration import Profile
from detectors.catalog.purpose import leaning
from detectors.engine import MOST_MS, STATE_VERSION, Account, Engine
from detectors.errors import StateError, require
from detectors.observation import Observation
from detectors.policy import CAMPAIGN, Decisions, DetectionSettings
from detectors.primitives import plain
from detectors.registry import make_all

SEPARATOR = "\x1f"
"""Between a pool's id and a member's, where both travel as one."""

_NAMED_BYTES = 24_576  # of member ids that a pool can name; the others are counted
_MOST_MEMBERS = 1024  # as many as a window has exchanges
_DIGEST_BYTES = 8
_GROWTH = 1.5
_FEWEST = 4  # members; fewer are no campaign, and each may well have an alert of its own
_MOST_LEANING = 1 << 24  # thousandths; more than a window's exchanges can add up to
_MOST_OF_ONE = 0.5  # of a window's exchanges: otherwise bystanders would be named for what one account does


class Pool(Account):
    """Running state of one pool.

    Attributes
    ----------
    members : dict of str to int
        Exchanges of the members in the current window. Until there are two, one with 0.
    leanings : dict of str to int
        Of the same members, how far their prompts together are above what ordinary accounts stay below.
    others : set of bytes
        Digests of members whose ids there is no room for.
    reported : int
        Members that the window's newest alert named.
    """

    __slots__ = ("leanings", "members", "named_bytes", "others", "reported")

    fields: ClassVar[tuple[str, ...]] = (*Account.__slots__, *__slots__)

    def __init__(self, pool_id: str) -> None:
        super().__init__(pool_id, ())
        self.members: dict[str, int] = {}
        self.leanings: dict[str, int] = {}
        self.named_bytes = 0
        self.others: set[bytes] = set()
        self.reported = 0

    @property
    def admitted(self) -> bool:
        """Whether a second account was seen: until then nothing is learned, and hardly anything kept."""
        return bool(self.detectors)

    @property
    def size(self) -> int:
        """Members seen in the window."""
        return len(self.members) + len(self.others)

    @property
    def shared(self) -> bool:
        """Whether several accounts did what the pool did, and not one among bystanders."""
        busiest = max(self.members.values(), default=0)
        return self.size >= _FEWEST and busiest <= _MOST_OF_ONE * self.count

    @property
    def likely(self) -> list[str]:
        """Members whose own prompts lean the way of the pool; all of them where too few do.

        What a campaign shares a link with, a network's or a reseller's other customers, is not named.
        """
        leaning = sorted(member for member, sum_ in self.leanings.items() if sum_ > 0)
        return leaning if len(leaning) >= _FEWEST else sorted(self.members)

    def add_member(self, member: str, count: int = 1, leaning: int = 0) -> None:
        """Count exchanges of a member, and how far their prompts are from ordinary ones."""
        members = self.members
        if member in members:
            members[member] += count
            self.leanings[member] += leaning
            return
        self.named_bytes += len(member.encode("utf-8", "surrogatepass"))
        if self.named_bytes <= _NAMED_BYTES:
            members[member], self.leanings[member] = count, leaning
        else:
            self.others.add(_digest(member))

    def forget_members(self) -> None:
        """A window begins."""
        self.members, self.leanings, self.others = {}, {}, set()
        self.named_bytes = self.reported = 0


class PoolEngine(Engine):
    """Applies exchanges to pools: an `Engine` whose subjects have members.

    An exchange's `account` is the pool's id, `SEPARATOR` and the member's; see `streams.sightings`. A pool
    begins with the exchange of its second account. Accounts that are allowed take no part.

    Parameters
    ----------
    settings : DetectionSettings
    profile : Profile
        The reference population, ordinary pools among it.
    decided : Decisions, optional
        What people decided about accounts.

    Raises
    ------
    ConfigError
        The profile knows no pools.
    """

    def __init__(
        self, settings: DetectionSettings, profile: Profile, decided: Decisions | None = None
    ) -> None:
        super().__init__(settings, profile, decided)
        self._decided = decided
        pools = profile.of_pools
        require(pools is not None, f"profile {profile.version} knows no pools: fit it again, or take another")
        self._profile = pools or profile
        self._limits = profile.ceilings.purpose

    def subject_id(self, seen: Observation) -> str:
        """The pool an exchange is of."""
        return seen.account.partition(SEPARATOR)[0]

    def fresh(self, account_id: str) -> Pool:
        """A pool nothing is known of."""
        return Pool(account_id)

    def _learning(self, account_id: str) -> Pool:
        pool = Pool(account_id)
        pool.detectors = make_all(self._ceilings)
        return pool

    def _admit(self, account: Account, seen: Observation) -> bool:
        pool, member = _pool(account), seen.account.partition(SEPARATOR)[2]
        if member in self._settings.allow or (
            self._decided and self._decided.silences(member, CAMPAIGN, seen.order_ms)
        ):
            return False
        if not pool.admitted:
            pool.last_ms = max(pool.last_ms, seen.order_ms) if pool.members else seen.order_ms
            if not pool.members or member in pool.members:
                pool.add_member(member, 0)
                return False
            pool.forget_members()
            pool.detectors = make_all(self._ceilings)
        pool.add_member(member, 1, leaning(seen.purpose, self._limits))
        return True

    def _subject(self, account: Account) -> tuple[Subject, bool]:
        pool = _pool(account)
        kind, _, value = pool.id.partition(":")
        busiest = max(pool.members.values(), default=0)
        likely = pool.likely
        link = {
            "kind": kind,
            "value": value,
            "accounts": pool.size,
            "exchanges": pool.total,
            "busiest_member": busiest,
        }
        subject = Subject(
            "campaign",
            pool.id,
            accounts=likely[:1000],
            account_count=len(likely) + len(pool.others),
            links=[link],
        )
        return subject, pool.size >= max(pool.reported * _GROWTH, pool.reported + 1)

    def _look(self, account: Account, look: int, seen: Observation) -> Alert | None:
        return super()._look(account, look, seen) if _pool(account).shared else None

    def _raised(self, account: Account) -> None:
        pool = _pool(account)
        pool.reported = pool.size

    def _next_window(self, account: Account) -> None:
        super()._next_window(account)
        _pool(account).forget_members()

    def snapshot(self, account: Account) -> Plain:
        """State of a pool as plain values; one with a single member is only its name and time."""
        pool = _pool(account)
        members = [
            list(pool.members),
            list(pool.members.values()),
            list(pool.leanings.values()),
            b"".join(sorted(pool.others)),
            pool.reported,
        ]
        if not pool.admitted:
            return [STATE_VERSION, pool.last_ms, members]
        return [STATE_VERSION, super().snapshot(pool), members]

    def restore(self, account_id: str, plain_state: Plain) -> Pool:
        """A pool as it was when the snapshot was taken; raises `StateError`."""
        if not isinstance(plain_state, list | tuple) or not plain_state or plain_state[0] != STATE_VERSION:
            raise StateError(f"pool state is not of version {STATE_VERSION}: the pool starts afresh")
        _, inner, saved = plain.fields(plain_state, 3, "pool")
        if isinstance(inner, int):
            pool = Pool(account_id)
            pool.last_ms = plain.integer(inner, -MOST_MS, MOST_MS, "pool.last_ms")
        else:
            restored = super().restore(account_id, inner)
            pool = _pool(restored)
        *lists, others, reported = plain.fields(saved, 5, "pool.members")
        if not all(isinstance(one, list | tuple) for one in lists):
            raise StateError("pool.members: saved values must be lists")
        names, counts, leanings = lists
        if not len(names) == len(counts) == len(leanings) <= _MOST_MEMBERS:
            raise StateError(f"pool.members: saved lists must be of equal length, at most {_MOST_MEMBERS}")
        for name, count, leaning_ in zip(names, counts, leanings, strict=True):
            pool.add_member(
                plain.text(name, _NAMED_BYTES, "pool.members"),
                plain.integer(count, 0, _MOST_MEMBERS, "pool.members"),
                plain.integer(leaning_, -_MOST_LEANING, _MOST_LEANING, "pool.members"),
            )
        packed = plain.raw(others, _MOST_MEMBERS * _DIGEST_BYTES, "pool.others", multiple_of=_DIGEST_BYTES)
        pool.others |= {packed[at : at + _DIGEST_BYTES] for at in range(0, len(packed), _DIGEST_BYTES)}
        if packed:
            pool.named_bytes = max(pool.named_bytes, _NAMED_BYTES + 1)
        pool.reported = plain.integer(reported, 0, 2 * _MOST_MEMBERS, "pool.reported")
        return pool


def _pool(account: Account) -> Pool:
    if not isinstance(account, Pool):
        raise TypeError(f"{account.id}: a pool engine applies to pools, not to accounts")
    return account


def _digest(member: str) -> bytes:
    return xxhash.xxh3_64_digest(member.encode("utf-8", "surrogatepass"))


__all__ = ["SEPARATOR", "Pool", "PoolEngine"]
