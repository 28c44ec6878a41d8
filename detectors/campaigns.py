"""Campaigns: pools that have members in common are one campaign, whatever links tie it together.

A harvest whose accounts share a card, a device and a network raises an alert for each. Joined, they are
one incident with one list of members. Joining is a function of the set of alerts: neither their order nor
who raised them matters.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec
import xxhash

from detectors.alerts import Alert
from detectors.policy import CAMPAIGN, SEVERITIES

_COMMON_MEMBERS = 2
_COMMON_SHARE = 0.5  # of the smaller pool's members
_CROWDED = 64  # pools that one member may tie together; beyond, the member is a crowd's, not a campaign's


class Link(msgspec.Struct, frozen=True):
    """What accounts of a campaign share.

    Attributes
    ----------
    kind, value : str
        As in the alerts' `subject.links`.
    accounts : int
        Members that alerts about this link named.
    exchanges : int
        Of the pool in all, at its newest alert.
    alerts : int
    """

    kind: str
    value: str
    accounts: int
    exchanges: int
    alerts: int


class Campaign(msgspec.Struct, frozen=True):
    """Accounts acting as one.

    Attributes
    ----------
    id : str
        From the pool that was alerted on first. It stays while the campaign grows; where two campaigns
        turn out to be one, the older one's stays.
    first_time, last_time : str
        Of its alerts' evidence, RFC 3339.
    severity : str
        Gravest of its alerts.
    members : list of str
        Accounts that its alerts named, sorted.
    exchanges : int
        Of its largest pool: what was taken is no less, but for what others on that link sent.
    links : list of Link
        Largest first.
    signals : list of str
        Names of the detectors behind it, most frequent first.
    alert_ids : list of str
        By time.
    """

    id: str
    first_time: str
    last_time: str
    severity: str
    members: list[str]
    exchanges: int
    links: list[Link]
    signals: list[str]
    alert_ids: list[str]


def join(alerts: Iterable[Alert]) -> list[Campaign]:
    """Campaigns behind the alerts of pools; other alerts are passed over.

    Two pools are of one campaign if they have two members in common and these are at least half of the
    smaller pool's (overlap coefficient; Szymkiewicz, 1934, Simpson, 1943), or if a chain of such pools
    connects them.

    Parameters
    ----------
    alerts : iterable of Alert
        In any order; repeats of an id count once.

    Returns
    -------
    list of Campaign
        By time of the first alert, then id. Complexity: linear in alerts and members, times at most 64
        pools per member.
    """
    pools: dict[str, dict[str, Alert]] = defaultdict(dict)
    for alert in alerts:
        if alert.kind == CAMPAIGN:
            pools[alert.subject.id][alert.alert_id] = alert
    by_pool = {pool: sorted(of.values(), key=_when) for pool, of in sorted(pools.items())}
    members = {
        pool: {one for alert in of for one in alert.subject.accounts or ()} for pool, of in by_pool.items()
    }
    groups = _connected(members)
    found = [_campaign({pool: by_pool[pool] for pool in group}, members) for group in groups]
    return sorted(found, key=lambda campaign: (campaign.first_time, campaign.id))


def _connected(members: dict[str, set[str]]) -> list[list[str]]:
    pools_of: dict[str, list[str]] = defaultdict(list)
    for pool, of in members.items():
        for member in of:
            pools_of[member].append(pool)
    common: dict[tuple[str, str], int] = defaultdict(int)
    for of_member in pools_of.values():
        if len(of_member) <= _CROWDED:
            for pair in itertools.combinations(of_member, 2):
                common[pair] += 1
    root = {pool: pool for pool in members}

    def find(pool: str) -> str:
        while root[pool] != pool:
            root[pool] = root[root[pool]]
            pool = root[pool]
        return pool

    for (one, other), count in common.items():
        if count >= max(_COMMON_MEMBERS, _COMMON_SHARE * min(len(members[one]), len(members[other]))):
            low, high = sorted((find(one), find(other)))
            root[high] = low
    groups: dict[str, list[str]] = defaultdict(list)
    for pool in members:
        groups[find(pool)].append(pool)
    return list(groups.values())


def _campaign(pools: dict[str, Sequence[Alert]], members: dict[str, set[str]]) -> Campaign:
    alerts = sorted((alert for of in pools.values() for alert in of), key=_when)
    links = [_link(of, len(members[pool])) for pool, of in pools.items()]
    named: dict[str, int] = defaultdict(int)
    for alert in alerts:
        for signal in alert.signals:
            named[signal.name] += 1
    return Campaign(
        id=f"campaign:{xxhash.xxh3_64_hexdigest(alerts[0].subject.id.encode('utf-8', 'surrogatepass'))}",
        first_time=min(alert.evidence.first_time for alert in alerts),
        last_time=max(alert.evidence.last_time for alert in alerts),
        severity=max((alert.severity for alert in alerts), key=SEVERITIES.index),
        members=sorted(set().union(*(members[pool] for pool in pools))),
        exchanges=max(link.exchanges for link in links),
        links=sorted(links, key=lambda link: (-link.exchanges, link.kind, link.value)),
        signals=sorted(named, key=lambda name: (-named[name], name)),
        alert_ids=[alert.alert_id for alert in alerts],
    )


def _link(alerts: Sequence[Alert], accounts: int) -> Link:
    kind, _, value = alerts[-1].subject.id.partition(":")
    exchanges = 0
    for alert in alerts:
        for link in alert.subject.links or ():
            count = link.get("exchanges")
            exchanges = max(exchanges, count) if isinstance(count, int) else exchanges
    return Link(kind, value, accounts, exchanges, len(alerts))


def _when(alert: Alert) -> tuple[str, str]:
    return alert.time, alert.alert_id
