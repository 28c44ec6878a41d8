"""The Faust agent that keeps account statistics: decode, shard, send alerts, save, acknowledge.

Everything that decides anything lives in `shard.py` and `detectors`; this file is about order:

1. messages are applied as they come and held, un-acknowledged;
2. alerts are sent as they are raised;
3. a flush takes a checkpoint of a partition, waits until its alerts are delivered, commits
   records and position in one transaction, and only then acknowledges the messages.

A failure anywhere stops all later flushes and ends the worker: Faust would otherwise go on with the
next message and commit past the failed one.
"""

import asyncio
import dataclasses
import functools
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import faust
from faust.types import TP
from prometheus_client import Counter, Gauge

from detectors.engine import Engine
from streams.alerting import AlertProducer
from streams.batches import BatchError, decode_batch
from streams.errors import StreamsError
from streams.health import Health
from streams.metrics import Metrics
from streams.offsets import watermarks
from streams.settings import Settings
from streams.shard import Limits, Raised, Shard
from streams.state import FencedError, PartitionState, StateStore

_log = logging.getLogger(__name__)

_MAX_HELD = 20_000  # messages un-acknowledged per partition before reading waits for a flush
_REVOKE_FLUSH_S = 10.0


class PositionError(StreamsError):
    """The saved position and the topic do not fit together."""


@dataclasses.dataclass(slots=True)
class _Part:
    """One owned observations partition."""

    partition: int
    shard: Shard
    state: PartitionState
    held: deque[Any] = dataclasses.field(default_factory=deque)  # un-acknowledged Faust events, by offset
    alerts: list["asyncio.Future[None]"] = dataclasses.field(default_factory=list)
    saving: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)
    waiting: deque[tuple[int, int]] = dataclasses.field(default_factory=deque)  # offset, appended_ms
    received_s: float = dataclasses.field(default_factory=time.monotonic)
    first: bool = True
    counted: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """What one stateful stage reads, keeps and reports.

    Attributes
    ----------
    name : str
        In metrics, health and logs.
    topic, state_topic : str
        What it reads, and where its state is kept.
    group : str
        The consumer group it reads in.
    engine : Engine
    limits : Limits
    population, buffered : Gauge
        For subjects with state, and rows that wait for their turn.
    applied : Counter
        Of rows.
    """

    name: str
    topic: str
    state_topic: str
    group: str
    engine: Engine
    limits: Limits
    population: Gauge
    buffered: Gauge
    applied: Counter


class Detect:
    """A stateful stage: owns partitions of a topic of observations and their state.

    Parameters
    ----------
    app : faust.App
        The application whose agent this becomes.
    settings : Settings
        Bounds and intervals.
    stage : Stage
        What this one is.
    store : StateStore
        Where state is kept.
    alerts : AlertProducer
        Where alerts go.
    metrics, health
        Where to report.
    failed : callable
        Told of the error that ends the role.
    """

    def __init__(
        self,
        app: faust.App,
        settings: Settings,
        stage: Stage,
        store: StateStore,
        alerts: AlertProducer,
        metrics: Metrics,
        health: Health,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._app = app
        self._settings = settings
        self._stage = stage
        self._store = store
        self._alerts = alerts
        self._metrics = metrics
        self._health = health
        self._failed = failed
        self._parts: dict[int, asyncio.Task[_Part]] = {}
        self._opened = 0
        self._behind = 0
        self._flush_at = 0.0
        self._engine_counted: dict[str, int] = {}
        self._silenced_counted: dict[str, int] = {}
        self._reference_counted: dict[str, int] = {}
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix=f"{stage.name}-state")
        self.failure: BaseException | None = None
        self.ending = False
        """Set when the worker ends: what fails from now on is given up, not a failure."""
        self._topic = app.topic(
            stage.topic,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
        )
        app.agent(self._topic, concurrency=1, name=stage.name)(self._accounts)
        app.on_partitions_assigned.connect(self._on_assigned)
        app.on_partitions_revoked.connect(self._on_revoked)

    # -- the agent -------------------------------------------------------------------------------

    async def _accounts(self, stream: Any) -> None:
        try:
            async for event in stream.noack().events():
                await self._take(event)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            await self.fail(error)
            raise

    async def _take(self, event: Any) -> None:
        message = event.message
        task = self._parts.get(message.partition)
        if task is None or message.generation_id != self._app.consumer_generation_id:
            return  # left over from before a rebalance; whoever owns the partition now reads it again
        part = await asyncio.shield(task)
        if self.failure is not None or self._parts.get(message.partition) is not task:
            return
        if part.first:
            await self._check_start(part, message)
            part.first = False
        part.held.append(event)
        started = time.perf_counter()
        try:
            batch = decode_batch(message.value)
        except BatchError as error:
            # Our own topic: not hostile traffic but a foreign writer or a version mix. Counted, kept on the
            # topic, never applied by guess.
            self._metrics.skipped.labels(stage=self._stage.name, reason="unreadable_batch").inc()
            _log.error("%s[%d]@%d: %s", message.topic, message.partition, message.offset, error)
            return
        part.received_s = time.monotonic()
        if batch.appended_ms:
            part.waiting.append((message.offset, batch.appended_ms))
            self._metrics.last_record.labels(stage=self._stage.name).set(batch.appended_ms / 1000)
        self._send(part, part.shard.receive(message.offset, batch))
        self._metrics.detect_seconds.observe(time.perf_counter() - started)
        self._observe_latency(part)
        self._health.beat(self._stage.name)
        while len(part.held) > _MAX_HELD and self.failure is None:
            # Saving is slower than reading, for instance because alerts cannot be delivered: wait for it.
            await self._flush(part)

    def _observe_latency(self, part: _Part) -> None:
        """Messages all of whose rows are applied now."""
        now_s = time.time()
        while part.waiting and part.waiting[0][0] <= part.shard.done:
            self._metrics.applied_latency.observe(max(0.0, now_s - part.waiting.popleft()[1] / 1000))

    def _send(self, part: _Part, raised: list[Raised]) -> None:
        for alert, appended_ms in raised:
            self._metrics.alerts.labels(kind=alert.kind, severity=alert.severity).inc()
            delivered = self._alerts.send(alert)
            if appended_ms:
                delivered.add_done_callback(functools.partial(self._observe_alert, appended_ms))
            part.alerts.append(delivered)

    def _observe_alert(self, appended_ms: int, _delivered: object) -> None:
        self._metrics.alert_latency.observe(max(0.0, time.time() - appended_ms / 1000))

    async def _check_start(self, part: _Part, message: Any) -> None:
        """Reading must continue where the state stands."""
        done = part.shard.done
        missing = message.offset - done - 1
        if done < 0 or missing <= 0:
            return
        low, _ = await self._watermarks(part.partition)
        if message.offset > low:
            raise PositionError(
                f"{message.topic}[{part.partition}]: state stands at offset {done}, but reading starts at "
                f"{message.offset}. Reset the offsets of group {self._stage.group} to the "
                "earliest; what was applied already is skipped"
            )
        self._metrics.skipped.labels(stage=self._stage.name, reason="lost_to_retention").inc(missing)
        _log.error(
            "%s[%d]: %d messages were deleted by retention before they were read; "
            "raise retention.ms of the topic above the longest outage",
            message.topic,
            part.partition,
            missing,
        )

    async def _watermarks(self, partition: int) -> tuple[int, int]:
        return await asyncio.get_running_loop().run_in_executor(
            self._pool,
            watermarks,
            self._settings.kafka.client(),
            self._stage.topic,
            partition,
        )

    # -- owning partitions -----------------------------------------------------------------------

    async def _open(self, partition: int) -> _Part:
        loop = asyncio.get_running_loop()
        state = await loop.run_in_executor(self._pool, self._store.open, partition)
        shard = Shard(self._stage.engine, self._stage.limits)
        shard.restore(state.position, state.records)
        state.records = {}
        _, high = await self._watermarks(partition)
        if high <= shard.done:
            raise PositionError(
                f"{self._stage.topic}[{partition}] ends at offset {high}, but its state "
                f"stands at {shard.done}: the topic was deleted and made anew. Delete and recreate the topic "
                f"{self._stage.state_topic} as well (extraction-detector topics create)"
            )
        _log.info(
            "%s partition %d: %d subjects, state stands at offset %d",
            self._stage.name,
            partition,
            shard.accounts,
            shard.done,
        )
        part = _Part(partition, shard, state)
        self._opened += 1
        if self._opened >= len(self._parts):
            self._health.ready(self._stage.name)
        return part

    async def _on_assigned(self, _app: Any, assigned: set[TP], **_: Any) -> None:
        mine = sorted(tp.partition for tp in assigned if tp.topic == self._stage.topic)
        self._metrics.assigned.labels(stage=self._stage.name).set(len(mine))
        for partition in mine:
            if partition not in self._parts:
                self._parts[partition] = asyncio.create_task(self._guarded_open(partition))
        self._opened = sum(1 for task in self._parts.values() if task.done())
        if not mine:
            self._health.ready(self._stage.name)  # a spare worker: nothing to load

    async def _guarded_open(self, partition: int) -> _Part:
        try:
            return await self._open(partition)
        except Exception as error:
            await self.fail(error)
            raise

    async def _on_revoked(self, _app: Any, revoked: set[TP], **_: Any) -> None:
        """Save what is held while the partitions are still ours, then let go of them."""
        if self._parts:
            # A take-over under way must end first: ended later, it would fence the next owner.
            await asyncio.wait(self._parts.values(), timeout=_REVOKE_FLUSH_S)
        parts = self._owned()
        self._parts.clear()
        self._health.not_ready(self._stage.name, "partitions are being shared out")
        if not parts:
            return
        try:
            await asyncio.wait_for(
                asyncio.gather(*(self._flush(part) for part in parts)), timeout=_REVOKE_FLUSH_S
            )
        except TimeoutError:
            # Unsaved work is read again by the next owner, who fences this one out of the state.
            _log.warning("partitions were taken away before their state was saved; the next owner repeats it")
        for part in parts:
            part.state.close()

    def _owned(self) -> list[_Part]:
        return [
            task.result()
            for task in list(self._parts.values())
            if task.done() and not task.cancelled() and task.exception() is None
        ]

    # -- saving ----------------------------------------------------------------------------------

    async def flush_forever(self) -> None:
        """Save every `state.flush_ms`, and release rows that only waited for time to pass."""
        pause_s = self._settings.state.flush_ms / 1000
        while self.failure is None:
            await asyncio.sleep(min(pause_s, 0.2))
            self._health.beat(f"{self._stage.name} save")
            try:
                await self._tick(pause_s)
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                await self.fail(error)
                raise

    async def _tick(self, pause_s: float) -> None:
        parts = self._owned()
        now = time.monotonic()
        for part in parts:
            if self._unread(part) == 0:
                self._send(part, part.shard.tick(now - part.received_s))
            self._observe_latency(part)
        if now - self._flush_at >= pause_s:
            self._flush_at = now
            await asyncio.gather(*(self._flush(part) for part in parts))
            self._report(parts)

    async def flush(self) -> None:
        """Save all partitions now."""
        await asyncio.gather(*(self._flush(part) for part in self._owned()))

    async def _flush(self, part: _Part) -> None:
        async with part.saving:
            if self.failure is not None or not part.held:
                return
            started = time.perf_counter()
            checkpoint = part.shard.checkpoint()
            alerts, part.alerts = part.alerts, []
            if alerts:
                await asyncio.gather(*alerts)
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._pool, part.state.commit, checkpoint.position, checkpoint.records)
            generation = self._app.consumer_generation_id
            while part.held and part.held[0].message.offset <= checkpoint.done:
                event = part.held.popleft()
                if event.message.generation_id == generation:
                    event.ack()
            self._metrics.flush_seconds.observe(time.perf_counter() - started)
            self._metrics.flush_records.inc(len(checkpoint.records))
            for _, record in checkpoint.records:
                if record is not None:
                    self._metrics.state_bytes.observe(len(record))

    def has_work(self) -> bool:
        """Whether something waits to be read, applied or saved. Called from other threads."""
        return self._behind > 0 or any(part.held for part in self._owned())

    # -- reporting and failing -------------------------------------------------------------------

    def _report(self, parts: list[_Part]) -> None:
        metrics = self._metrics
        self._stage.population.set(sum(part.shard.accounts for part in parts))
        self._stage.buffered.set(sum(part.shard.buffered for part in parts))
        for part in parts:
            counts = {"applied": part.shard.applied, **part.shard.skipped}
            before = part.counted
            for reason, count in counts.items():
                grown = count - before.get(reason, 0)
                if grown <= 0:
                    continue
                if reason == "applied":
                    self._stage.applied.inc(grown)
                else:
                    metrics.skipped.labels(stage=self._stage.name, reason=reason).inc(grown)
            part.counted = counts
        for reason, count in self._stage.engine.skipped.items():
            grown = count - self._engine_counted.get(reason, 0)
            if grown > 0:
                metrics.skipped.labels(stage=self._stage.name, reason=reason).inc(grown)
            self._engine_counted[reason] = count
        for reason, count in self._stage.engine.silenced.items():
            metrics.silenced.labels(reason=reason).inc(count - self._silenced_counted.get(reason, 0))
            self._silenced_counted[reason] = count
        reference = dict(self._stage.engine.reference)
        for counter, name in (
            (metrics.reference_accounts, "accounts"),
            (metrics.reference_unusual, "unusual"),
        ):
            grown = reference.get(name, 0) - self._reference_counted.get(name, 0)
            counter.labels(stage=self._stage.name).inc(grown)
        self._reference_counted = reference
        lags = [lag for part in parts if (lag := self._unread(part)) is not None]
        self._behind = sum(lags)
        metrics.set_lag(self._stage.name, lags)

    def _unread(self, part: _Part) -> int | None:
        """Messages of the partition that wait to be read; None while the client does not know."""
        high = self._app.consumer.highwater(TP(self._stage.topic, part.partition))
        return None if high is None else max(0, high - 1 - part.shard.received)

    async def fail(self, error: BaseException) -> None:
        """Stop saving for good and end the worker with `error`."""
        if self.failure is None and not self.ending:
            self.failure = error
            kind = "fenced" if isinstance(error, FencedError) else "failure"
            self._metrics.crashes.labels(reason=kind).inc()
            _log.error("%s stops: %s", self._stage.name, error)
            self._failed(error)
            await self._app.crash(error)

    def close(self) -> None:
        """Let go of threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)
