"""A detection engine that alerts by counting, for tests of what is around the engine."""

from collections import Counter
from types import SimpleNamespace

from detectors.alerts import Alert, Evidence, Subject


def alert_of(account_id, event_ids, *, count, time="2026-03-01T00:00:00.000Z", topic=""):
    """An alert on an account after `count` events, resting on some of them."""
    return Alert(
        alert_id="/".join(event_ids),
        time=time,
        subject=Subject("account", account_id),
        kind="third",
        severity="low",
        score=1.0,
        signals=[],
        evidence=Evidence(count, "", "", event_ids, []),
        recommended_action="",
        technique=topic,
        detector_version="",
        config_hash="",
    )


class Third:
    """An alert at every third event of an account."""

    def __init__(self):
        self.silenced = Counter()

    def fresh(self, account_id):
        return SimpleNamespace(id=account_id, last_ms=0, events=[])

    def subject_id(self, seen):
        return seen.account

    def apply(self, account, seen, topic):
        account.last_ms = seen.order_ms
        account.events.append(seen.event_id)
        if len(account.events) % 3:
            return None
        return alert_of(
            account.id,
            account.events[-3:],
            count=len(account.events),
            time=str(seen.order_ms),
            topic=topic,
        )

    def snapshot(self, account):
        return [account.id, account.last_ms, list(account.events)]

    def restore(self, account_id, plain):
        return SimpleNamespace(id=account_id, last_ms=plain[1], events=list(plain[2]))
