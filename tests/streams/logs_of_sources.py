"""Makes the messages that ingest would send for given source logs, for tests of order."""

from collections.abc import Iterable, Sequence

import numpy as np

from detectors.observation import ROW
from streams.batches import Batch, Progress, decode_batch, encode_batch


class Source:
    """One source partition: event times in log order, as ingest orders them."""

    def __init__(self, partition: int, events: Sequence[tuple[str, int]], lateness_ms: int) -> None:
        self.partition = partition
        self.events = []  # (offset, account, event id, order_ms, low_ms after it)
        newest = None
        for offset, (account, time_ms) in enumerate(events):
            newest = time_ms if newest is None else max(newest, time_ms)
            order_ms = max(time_ms, newest - lateness_ms)
            self.events.append((offset, account, f"{partition}-{offset}", order_ms, newest - lateness_ms))


def batch(
    picked: Iterable[tuple[Source, int]],
    heard: dict[int, Progress],
    partitions: int,
) -> Batch:
    """One message with the events `picked` (source, offset), and the progress in `heard`."""
    entries = [(source, *source.events[offset]) for source, offset in picked]
    rows = np.zeros(len(entries), dtype=ROW)
    for row, (source, offset, _, _, order_ms, _) in zip(rows, entries, strict=True):
        row["partition"], row["offset"] = source.partition, offset
        row["order_ms"] = row["time_ms"] = order_ms
    return decode_batch(
        encode_batch(
            observer="test",
            source="bus",
            source_partitions=partitions,
            progress=list(heard.values()),
            appended_ms=0,
            accounts=[entry[2] for entry in entries],
            event_ids=[entry[3] for entry in entries],
            rows=rows,
        )
    )


def expected_order(sources: Iterable[Source]) -> dict[str, list[str]]:
    """Event ids per account in the order in which they must be applied."""
    merged = sorted(
        (order_ms, event_id, account)
        for source in sources
        for _, account, event_id, order_ms, _ in source.events
    )
    by_account: dict[str, list[str]] = {}
    for _, event_id, account in merged:
        by_account.setdefault(account, []).append(event_id)
    return by_account
