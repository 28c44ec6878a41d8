"""Observation batches: many observations and the progress of their sources in one Kafka message.

The rows are the packed records of `detectors.observation.ROW`, so a batch is written and read
without touching single fields. Nothing in it is text of a prompt.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from detectors.observation import ROW, ROW_VERSION

BATCH_VERSION = 1

Rows = np.ndarray[Any, Any]


class BatchError(ValueError):
    """Bytes on the observations topic that are not a batch this version can read."""


class Progress(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """How far one source partition has been read, as ingest knew it when it sent the message.

    Attributes
    ----------
    partition : int
        Source partition.
    next_offset : int
        Every earlier offset has been read, and its rows for this observations partition have been sent.
    low_ms : int
        Promise: no later row of this source partition has a smaller `order_ms`.
    idle_ms : int
        For how long the partition has had nothing to read, wall-clock milliseconds.
    """

    partition: int
    next_offset: int
    low_ms: int
    idle_ms: int


class Batch(msgspec.Struct, array_like=True, frozen=True):
    """One message on the observations topic.

    Attributes
    ----------
    version : int
        `BATCH_VERSION`.
    row_version : int
        `ROW_VERSION`: layout of `rows`.
    observer : str
        Fingerprint of how text became numbers (feature version, limits, secret key).
    source : str
        Topic the events were read from, or file.
    source_partitions : int
        How many partitions the source has.
    progress : list of Progress
        Only on the last message of a flush, so that it never runs ahead of rows.
    appended_ms : int
        When the oldest event of the batch was appended to the source, ms since the epoch; 0 = unknown.
    sent_ms : int
        When ingest sent the batch, its wall clock, ms since the epoch; 0 = unknown. How long a source has
        been idle or silent is measured with this, so that reading a backlog decides as reading live did.
    accounts : list of str
        Distinct account ids.
    account_of : bytes
        uint16 per row: index into `accounts`.
    event_ids : list of str
        One per row.
    rows : bytes
        Packed records.
    """

    version: int
    row_version: int
    observer: str
    source: str
    source_partitions: Annotated[int, msgspec.Meta(ge=1)]
    progress: list[Progress]
    appended_ms: int
    sent_ms: int
    accounts: list[str]
    account_of: bytes
    event_ids: list[str]
    rows: bytes

    def records(self) -> Rows:
        """The rows as a read-only structured array, shape (n,)."""
        return np.frombuffer(self.rows, dtype=ROW)

    def account_ids(self) -> list[str]:
        """Account id of each row."""
        names = self.accounts
        return [names[i] for i in np.frombuffer(self.account_of, dtype="<u2").tolist()]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Batch).decode


def encode_batch(
    *,
    observer: str,
    source: str,
    source_partitions: int,
    progress: Sequence[Progress],
    appended_ms: int,
    sent_ms: int = 0,
    accounts: Sequence[str],
    event_ids: Sequence[str],
    rows: Rows,
) -> bytes:
    """Bytes of a batch; `accounts` and `event_ids` have one entry per row, at most 65,535 rows."""
    index: dict[str, int] = {}
    account_of = [index.setdefault(account, len(index)) for account in accounts]
    return _encode(
        Batch(
            BATCH_VERSION,
            ROW_VERSION,
            observer,
            source,
            source_partitions,
            list(progress),
            appended_ms,
            sent_ms,
            list(index),
            np.array(account_of, dtype="<u2").tobytes(),
            list(event_ids),
            rows.tobytes(),
        )
    )


def decode_batch(value: bytes) -> Batch:
    """Read a batch back.

    Raises
    ------
    BatchError
        The bytes are not a batch, are of another version, or do not agree with themselves.
    """
    try:
        batch = _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BatchError(f"not an observation batch: {error}") from None
    if (batch.version, batch.row_version) != (BATCH_VERSION, ROW_VERSION):
        raise BatchError(
            f"batch version {batch.version}, row version {batch.row_version}; this worker reads "
            f"{BATCH_VERSION} and {ROW_VERSION}: upgrade detect workers before ingest workers"
        )
    count, rest = divmod(len(batch.rows), ROW.itemsize)
    if rest or len(batch.event_ids) != count or len(batch.account_of) != 2 * count:
        raise BatchError(f"{len(batch.rows)} bytes of rows do not match {len(batch.event_ids)} event ids")
    if count and int(np.frombuffer(batch.account_of, dtype="<u2").max()) >= len(batch.accounts):
        raise BatchError("a row points to an account that the batch does not carry")
    return batch
