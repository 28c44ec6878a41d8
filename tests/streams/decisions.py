"""Control records that hold for a day from the first of March 2026."""

import datetime as dt

from detectors.control import Control

T0 = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
T0_MS = int(T0.timestamp() * 1000)


def record(account="a", kind="allow", hours=24, alert_kind=None, **more):
    return Control.make(
        {
            "schema": "extraction.control/1",
            "kind": kind,
            "subject": {"type": "account", "id": account},
            "owner": "ada",
            "reason": "a test",
            "time": T0,
            "expires": T0 + dt.timedelta(hours=hours),
            "alert_kind": alert_kind,
            **more,
        }
    )
