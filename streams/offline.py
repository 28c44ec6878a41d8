"""The whole pipeline in one process without a broker: what replay, evaluation and test oracles run.

Records go through the same intake, packing, batches, order and engine as in the live worker; only
the two Kafka hops between them are missing.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from detectors.alerts import Alert
from detectors.base import Plain
from detectors.engine import Account, Engine
from detectors.policy import Decisions
from detectors.pools import PoolEngine
from streams import sightings, topics
from streams.batches import Progress, decode_batch
from streams.build import build_engine, build_intake, build_limits, build_pool_engine, build_pool_limits
from streams.intake import Intake, Record
from streams.packing import Packer
from streams.settings import Settings
from streams.shard import Limits, Shard

_UNKNOWN_LOW_MS = -(1 << 62)
_NO_MORE_MS = 1 << 62


class OfflinePipeline:
    """Records in, alerts out.

    Parameters
    ----------
    engine, intake, limits
        As the live worker has them.
    source : str
        Topic or file that the records come from; named in the alerts' positions.
    source_partitions : int
        Partitions of the source.
    partitions : int
        Shards, as many as the observations topic has partitions.
    pools : (PoolEngine, Limits), optional
        For accounts that share one of `links`; None does not look for them.
    links : tuple of str
        Names in `sightings.LINKS`.
    share : tuple of int
        Number and count: of the shards, this pipeline runs every `count`-th, from `number` on. Pipelines with
        all numbers together raise what one would that runs all.
    """

    def __init__(
        self,
        engine: Engine,
        intake: Intake,
        limits: Limits,
        *,
        source: str,
        source_partitions: int = 1,
        partitions: int = 8,
        pools: tuple[PoolEngine, Limits] | None = None,
        links: tuple[str, ...] = (),
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self._engine = engine
        self._intake = intake
        self._shards = [Shard(engine, limits) for _ in range(partitions)]
        self._pool_shards = [Shard(*pools) for _ in range(partitions)] if pools else []
        self._pool_engine = pools[0] if pools else None
        self._links = links
        self._number, self._count = share
        # A row may be of a pool of ours though its account is not.
        self._wanted = None if self._count == 1 or links else self._is_ours

        def packer(partition_of: Callable[[str, int], int]) -> Packer:
            return Packer(
                partitions=partitions,
                partition_of=partition_of,
                rows_per_message=1000,
                observer=intake.fingerprint,
                source=source,
                source_partitions=source_partitions,
            )

        self._packer = packer(topics.partition_of)
        self._sighting_packer = packer(sightings.partition_of)
        self._next_offset: dict[int, int] = {}
        self._ended: set[int] = set()
        self._sent: Counter[Shard] = Counter()
        self.read = 0
        """Records read."""
        self.refused: dict[str, int] = {}
        """Records that are not request events, by reason."""

    def feed(self, records: Iterable[Record]) -> list[Alert]:
        """Take some records, of each source partition in offset order; returns the alerts raised."""
        records = list(records)
        for record in records:
            self._next_offset[record.partition] = record.offset + 1
        self.read += len(records)
        taken = self._intake.take(records, self._wanted)
        for _, refusal in taken.refused:
            self.refused[refusal.reason] = self.refused.get(refusal.reason, 0) + 1
        self._packer.add(taken)
        progress = [
            Progress(
                partition,
                offset,
                self._low_ms(partition),
                0,
            )
            for partition, offset in self._next_offset.items()
        ]
        alerts = list(self._hand_over(self._packer, self._shards, progress))
        if self._pool_shards:
            self._sighting_packer.add(sightings.sightings_of(taken, self._links))
            alerts += self._hand_over(self._sighting_packer, self._pool_shards, progress)
        return alerts

    def _is_ours(self, account_id: str) -> bool:
        return topics.partition_of(account_id, len(self._shards)) % self._count == self._number

    def end(self, partition: int) -> None:
        """A source partition has no more records: nothing waits for it, from the next `feed` on."""
        self._next_offset.setdefault(partition, 0)
        self._ended.add(partition)

    def _low_ms(self, partition: int) -> int:
        if partition in self._ended:
            return _NO_MORE_MS
        low = self._intake.low_ms(partition)
        return _UNKNOWN_LOW_MS if low is None else low

    def _hand_over(
        self, packer: Packer, shards: Sequence[Shard], progress: Sequence[Progress]
    ) -> Iterator[Alert]:
        for partition, value in packer.flush(progress, True):
            if partition % self._count != self._number:
                continue
            shard = shards[partition]
            self._sent[shard] += 1
            for alert, _ in shard.receive(self._sent[shard] - 1, decode_batch(value)):
                yield alert
            shard.rest()

    def finish(self) -> list[Alert]:
        """The input has ended: apply what still waits; returns the alerts raised."""
        return [alert for shard in (*self._shards, *self._pool_shards) for alert, _ in shard.finish()]

    def account(self, account_id: str) -> Account | None:
        """State of an account."""
        return self._shards[topics.partition_of(account_id, len(self._shards))].account(account_id)

    def snapshot(self, account_id: str) -> Plain:
        """State of an account as it would be saved; None if it has none."""
        account = self.account(account_id)
        return None if account is None else self._engine.snapshot(account)

    def account_ids(self) -> list[str]:
        """Accounts with state, sorted."""
        return sorted(account_id for shard in self._shards for account_id in shard.account_ids())

    def pool_snapshots(self) -> dict[str, Plain]:
        """State of every group of accounts, as it would be saved, by id."""
        found: dict[str, Plain] = {}
        for shard in self._pool_shards:
            found.update(shard.snapshots())
        return found

    @property
    def silenced(self) -> dict[str, int]:
        """Alerts that were not raised because people said so, by what they said."""
        silenced = self._engine.silenced.copy()
        if self._pool_engine is not None:
            silenced += self._pool_engine.silenced
        return dict(silenced)

    @property
    def shards(self) -> list[Shard]:
        """The shards, by partition."""
        return self._shards


def build(
    settings: Settings,
    key: bytes,
    *,
    source: str,
    source_partitions: int = 1,
    decided: Decisions | None = None,
    share: tuple[int, int] = (0, 1),
) -> OfflinePipeline:
    """The pipeline that `settings` describe, exactly as a live worker would run it."""
    pool_engine = build_pool_engine(settings, key, decided)
    return OfflinePipeline(
        build_engine(settings, key, decided),
        build_intake(settings, key),
        build_limits(settings),
        source=source,
        source_partitions=source_partitions,
        partitions=settings.topics.partitions,
        pools=None if pool_engine is None else (pool_engine, build_pool_limits(settings)),
        links=settings.campaigns.links,
        share=share,
    )
