"""Detection quality of a replay against labels: found and flagged accounts, by kind, with intervals."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
from scipy.stats import beta

from detectors.alerts import Alert
from streams.errors import StreamsError

_COLUMNS = ("account_id", "label", "kind", "campaign")
_ALL = "all"  # the row over all kinds


class LabelError(StreamsError):
    """A labels file cannot be used; names the line and the fix."""


class Label(NamedTuple):
    """What an account really was."""

    label: str
    kind: str
    campaign: str


class Row(msgspec.Struct, frozen=True):
    """Result for one kind of account.

    Attributes
    ----------
    label, kind : str
        As labelled.
    accounts, alerted : int
        How many there were, and how many had an alert.
    share : float
        Of them alerted, 0..1.
    low, high : float
        Clopper-Pearson interval of the share at 95 % (Clopper and Pearson, 1934).
    median_exchanges : int or None
        Exchanges of the account until its first alert, median over alerted accounts.
    """

    label: str
    kind: str
    accounts: int
    alerted: int
    share: float
    low: float
    high: float
    median_exchanges: int | None


def read_labels(path: Path) -> dict[str, Label]:
    """Labels by account id from a CSV file with the columns account_id, label, kind, campaign.

    Raises
    ------
    LabelError
        The file cannot be read, lacks a column, or has a label other than benign and extraction.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # as spreadsheets write it
            reader = csv.DictReader(file)
            missing = [column for column in _COLUMNS[:3] if column not in (reader.fieldnames or ())]
            if missing:
                raise LabelError(f"{path}: no column {', '.join(missing)}; expected {','.join(_COLUMNS)}")
            labels: dict[str, Label] = {}
            for row in reader:
                if row["kind"] is None:
                    raise LabelError(
                        f"{path}:{reader.line_num}: too few columns; expected {','.join(_COLUMNS)}"
                    )
                if row["kind"] == _ALL:
                    raise LabelError(
                        f"{path}:{reader.line_num}: kind {_ALL!r} stands for all kinds; rename it"
                    )
                if row["account_id"] in labels:
                    raise LabelError(f"{path}:{reader.line_num}: a second label for one account; keep one")
                if row["label"] not in ("benign", "extraction"):
                    raise LabelError(
                        f"{path}:{reader.line_num}: label {row['label']!r} must be benign or extraction"
                    )
                labels[row["account_id"]] = Label(row["label"], row["kind"], row.get("campaign") or "")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabelError(f"{path}: {error}") from None
    return labels


def clopper_pearson(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact binomial interval of a share."""
    if not trials:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else float(beta.ppf(tail, hits, trials - hits + 1))
    high = 1.0 if hits == trials else float(beta.ppf(1 - tail, hits + 1, trials - hits))
    return low, high


def score(labels: Mapping[str, Label], alerts: Iterable[Alert]) -> list[Row]:
    """Results by label and kind, with a row of kind `all` for each label; extraction comes first."""
    first: dict[str, int] = {}
    for alert in alerts:
        count = alert.evidence.event_count
        first[alert.subject.id] = min(count, first.get(alert.subject.id, count))
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for account_id, label in labels.items():
        groups[label.label, _ALL].append(account_id)
        groups[label.label, label.kind].append(account_id)
    rows = []
    for (label_name, kind), members in sorted(
        groups.items(), key=lambda g: (g[0][0] != "extraction", g[0][1])
    ):
        counts = sorted(first[account_id] for account_id in members if account_id in first)
        low, high = clopper_pearson(len(counts), len(members))
        rows.append(
            Row(
                label_name,
                kind,
                len(members),
                len(counts),
                len(counts) / len(members),
                low,
                high,
                counts[len(counts) // 2] if counts else None,
            )
        )
    return rows


def table(rows: Iterable[Row]) -> str:
    """The results for people."""
    head = ("label", "kind", "accounts", "alerted", "share", "95 % interval", "exchanges")
    lines = ["{:<11} {:<24} {:>8} {:>8} {:>7}  {:<16} {:>9}".format(*head)]
    for row in rows:
        exchanges = "-" if row.median_exchanges is None else str(row.median_exchanges)
        lines.append(
            f"{row.label:<11} {row.kind:<24} {row.accounts:>8} {row.alerted:>8} {row.share:>7.1%}  "
            f"{row.low:>6.1%} .. {row.high:<6.1%} {exchanges:>9}"
        )
    return "\n".join(lines)
