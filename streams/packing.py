"""Collects rows per observations partition and packs them into batches."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from detectors.observation import ROW
from streams.batches import Progress, Rows, encode_batch
from streams.intake import Taken


class Packer:
    """Rows on their way to the observations topic.

    Parameters
    ----------
    partitions : int
        Partitions of the observations topic.
    partition_of : callable
        `(account_id, partitions) -> partition`.
    rows_per_message : int
        Rows after which a new message is begun.
    observer, source : str
        Named on every batch.
    source_partitions : int
        How many partitions the source has.
    """

    def __init__(
        self,
        *,
        partitions: int,
        partition_of: Callable[[str, int], int],
        rows_per_message: int,
        observer: str,
        source: str,
        source_partitions: int,
    ) -> None:
        self._partitions = partitions
        self._partition_of = partition_of
        self._rows_per_message = rows_per_message
        self._observer = observer
        self._source = source
        self.source_partitions = source_partitions
        self._waiting: list[list[tuple[Rows, list[str], list[str], int]]] = [[] for _ in range(partitions)]
        self._sent_ms = 0
        self.rows = 0
        """Rows waiting in all partitions."""

    def add(self, taken: Taken) -> None:
        """Take the rows of some records, keeping their order."""
        count = len(taken.rows)
        if not count:
            return
        self.rows += count
        partition_of, partitions = self._partition_of, self._partitions
        targets = np.array([partition_of(account, partitions) for account in taken.accounts])
        for target in np.unique(targets).tolist():
            at = np.flatnonzero(targets == target)
            picked = at.tolist()
            self._waiting[target].append(
                (
                    taken.rows[at],
                    [taken.accounts[i] for i in picked],
                    [taken.event_ids[i] for i in picked],
                    min(taken.appended_ms[i] for i in picked),
                )
            )

    def flush(
        self, progress: Sequence[Progress], also_empty: bool, sent_ms: int = 0
    ) -> Iterator[tuple[int, bytes]]:
        """Messages for everything that waits, as (partition, bytes); nothing waits afterwards.

        `progress` goes on the last message of each partition; with `also_empty`, partitions without
        rows get a message with progress alone.
        """
        self.rows = 0
        self._sent_ms = sent_ms
        for partition, waiting in enumerate(self._waiting):
            if not waiting:
                if also_empty:
                    yield partition, self._encode(progress, 0, [], [], np.empty(0, dtype=ROW))
                continue
            self._waiting[partition] = []
            rows = np.concatenate([entry[0] for entry in waiting]) if len(waiting) > 1 else waiting[0][0]
            accounts = [account for entry in waiting for account in entry[1]]
            event_ids = [event_id for entry in waiting for event_id in entry[2]]
            appended_ms = min(entry[3] for entry in waiting)
            start = 0
            while start < len(rows):
                stop = self._cut(rows, start)
                yield (
                    partition,
                    self._encode(
                        progress if stop == len(rows) else (),
                        appended_ms,
                        accounts[start:stop],
                        event_ids[start:stop],
                        rows[start:stop],
                    ),
                )
                start = stop

    def _cut(self, rows: Rows, start: int) -> int:
        """End of the message that begins at `start`: rows of one source record are never divided.

        Repeats are recognised by source offset, so the second half would be taken for a repeat.
        """
        stop = min(start + self._rows_per_message, len(rows))
        while stop < len(rows) and (
            rows["partition"][stop] == rows["partition"][stop - 1]
            and rows["offset"][stop] == rows["offset"][stop - 1]
        ):
            stop += 1
        return stop

    def _encode(
        self,
        progress: Sequence[Progress],
        appended_ms: int,
        accounts: Sequence[str],
        event_ids: Sequence[str],
        rows: Rows,
    ) -> bytes:
        return encode_batch(
            observer=self._observer,
            source=self._source,
            source_partitions=self.source_partitions,
            progress=progress,
            appended_ms=appended_ms,
            sent_ms=self._sent_ms,
            accounts=accounts,
            event_ids=event_ids,
            rows=rows,
        )
