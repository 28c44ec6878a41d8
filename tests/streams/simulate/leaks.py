"""How well metadata alone tells accounts apart: features of all but text, roles and turns, and a model."""

import itertools
import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from threadpoolctl import threadpool_limits

_BUCKETS = 8
_ABSENT = -1e9  # the model cannot do with a column that has no value at all in a fold
_PERCENTILES = (0, 10, 25, 50, 75, 90, 99, 100)
_CATEGORIES = (
    "model",
    "operation",
    "finish_reason",
    "client.country",
    "client.user_agent",
    "client.asn",
    "client.ja4",
    "account.tier",
    "account.pathway",
    "account.verification",
    "account.country",
)
_NUMBERS = (
    "params.max_tokens",
    "params.temperature",
    "params.top_p",
    "params.n",
    "params.logprobs",
    "params.top_logprobs",
    "params.seed",
    "params.stream",
    "params.tools",
    "usage.input_tokens",
    "usage.output_tokens",
)
_IDS = (
    "event_id",
    "account_id",
    "org_id",
    "api_key_id",
    "conversation_id",
    "client.ip",
    "client.device_id",
    "account.payment_fingerprint",
)


def _get(event, path):
    outer, _, inner = path.partition(".")
    value = event.get(outer)
    return value.get(inner) if inner and isinstance(value, Mapping) else None if inner else value


def _hash(text):
    return zlib.crc32(str(text).encode())


def _spread(values, name, into):
    """Quantiles, mean, deviation and coefficient of variation."""
    if not values:
        return
    array = np.asarray(values, dtype=float)
    for q, value in zip(_PERCENTILES, np.percentile(array, _PERCENTILES), strict=True):
        into[f"{name}.p{q}"] = float(value)
    into[f"{name}.mean"] = mean = float(array.mean())
    into[f"{name}.std"] = std = float(array.std())
    into[f"{name}.cv"] = std / mean if mean else 0.0
    into[f"{name}.distinct"] = len(set(values)) / len(values)


def _shape(text):
    return "".join("d" if c.isdigit() else "a" if c.islower() else "A" if c.isupper() else c for c in text)


def features(events: Iterable[dict]) -> tuple[list[str], dict[str, dict[str, float]]]:
    """Accounts in the order of their first event, and each one's features."""
    by_account: dict[str, list[dict]] = defaultdict(list)
    for event in events:
        by_account[event["account_id"]].append(event)
    sharing = {
        path: Counter(
            value
            for group in by_account.values()
            for value in {_get(event, path) for event in group}
            if value is not None
        )
        for path in ("org_id", "client.ip", "client.asn", "client.ja4", "account.payment_fingerprint")
    }
    rows = {}
    for rank, (account, group) in enumerate(by_account.items()):
        rows[account] = {"first_seen": rank} | _features(group, sharing)
    return list(by_account), rows


def _features(group, sharing):
    row: dict[str, float] = {"events": len(group)}
    times = [datetime.fromisoformat(event["time"]) for event in group]
    stamps = [time.timestamp() for time in times]
    row["first_time"], row["last_time"] = stamps[0], stamps[-1]
    row["days"] = len({time.date() for time in times})
    row["weekend"] = sum(time.weekday() > 4 for time in times) / len(times)
    for hours in range(0, 24, 3):
        row[f"hour.{hours}"] = sum(hours <= time.hour < hours + 3 for time in times) / len(times)
    row["milliseconds"] = float(np.mean([time.microsecond for time in times]))
    gaps = [math.log(1e-3 + later - earlier) for earlier, later in itertools.pairwise(stamps)]
    _spread(gaps, "log_gap", row)
    _spread([math.exp(gap) for gap in gaps], "gap", row)
    for limit in (1, 10, 60, 600, 3600, 36_000):
        row[f"gap_below.{limit}"] = sum(gap < math.log(limit) for gap in gaps) / max(1, len(gaps))
    pairs = np.corrcoef(gaps[:-1], gaps[1:])[0, 1] if len(gaps) > 3 and np.std(gaps) > 0 else 0.0
    row["gap_correlation"] = float(np.nan_to_num(pairs))

    for path in _NUMBERS:
        values = [_get(event, path) for event in group]
        present = [float(value) for value in values if value is not None]
        row[f"{path}.missing"] = 1 - len(present) / len(group)
        _spread(present, path, row)
    used = [event["usage"] for event in group if event.get("usage")]
    ratios = [usage["output_tokens"] / usage["input_tokens"] for usage in used]
    _spread(ratios, "out_per_in", row)

    for path in _CATEGORIES:
        values = [_get(event, path) for event in group]
        row[f"{path}.missing"] = sum(value is None for value in values) / len(group)
        row[f"{path}.distinct"] = len(set(values))
        counts = Counter(_hash(value) % _BUCKETS for value in values if value is not None)
        for bucket in range(_BUCKETS):
            row[f"{path}.{bucket}"] = counts[bucket] / len(group)

    for path in _IDS:
        values = [_get(event, path) for event in group]
        present = [value for value in values if value is not None]
        row[f"{path}.missing"] = 1 - len(present) / len(group)
        row[f"{path}.distinct"] = len(set(present)) / len(group)
        if present:
            first = present[0]
            row[f"{path}.length"] = float(np.mean([len(value) for value in present]))
            row[f"{path}.digits"] = float(np.mean([sum(map(str.isdigit, v)) / len(v) for v in present[:50]]))
            row[f"{path}.prefix"] = _hash(first[:4]) % 64
            row[f"{path}.shape"] = _hash(_shape(first)[:6]) % 64
            row[f"{path}.head"] = ord(first[5]) if len(first) > 5 else -1
            row[f"{path}.bucket"] = _hash(first) % _BUCKETS
    octets = [int(part) if part.isdigit() else -1 for part in str(_get(group[0], "client.ip")).split(".")]
    for at, octet in enumerate((octets + [-1] * 4)[:4]):
        row[f"octet.{at}"] = octet
    per_conversation = Counter(event.get("conversation_id") for event in group)
    _spread(list(per_conversation.values()), "per_conversation", row)

    created = _get(group[0], "account.created_at")
    if created is not None:
        row["age_days"] = stamps[0] / 86_400 - created / 86_400_000
        row["created_hour"] = created / 3_600_000 % 24
    for path, counts in sharing.items():
        shared = [counts[_get(event, path)] for event in group if _get(event, path) is not None]
        row[f"{path}.shared"] = max(shared, default=0)

    # Which fields there are, null or absent, and in which order.
    row["fields"] = len(group[0])
    row["nulls"] = sum(value is None for value in group[0].values())
    row["field_order"] = _hash(tuple(group[0])) % 64
    for outer in ("params", "client", "account"):
        row[f"{outer}.order"] = _hash(tuple(group[0].get(outer) or ())) % 64
    return row


def auc(
    events: Iterable[dict], hidden: Collection[str], ordinary: Collection[str], without: tuple[str, ...] = ()
) -> float:
    """Area under the ROC curve of a cross-validated gradient-boosted model on the features.

    Columns whose names begin with one of `without` are left out.
    """
    order, rows = features(events)
    accounts = [account for account in order if account in hidden or account in ordinary]
    names = sorted({name for account in accounts for name in rows[account]})
    names = [name for name in names if not name.startswith(without)]
    table = np.array([[rows[account].get(name, _ABSENT) for name in names] for account in accounts])
    truth = np.array([account in hidden for account in accounts])
    model = HistGradientBoostingClassifier(
        max_iter=60, max_leaf_nodes=8, learning_rate=0.08, min_samples_leaf=10, random_state=0
    )
    folds = StratifiedKFold(n_splits=4, shuffle=True, random_state=0)
    with threadpool_limits(1):  # on a small table threads cost more than they bring
        score = cross_val_predict(model, table, truth, cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(truth, score))
