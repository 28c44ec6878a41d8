"""Runs the roles of a worker until it is told to stop or something fails."""

import asyncio
import contextlib
import logging
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable

from detectors.control import Register
from streams import topics
from streams.build import build_engine, build_limits, build_pool_engine, build_pool_limits
from streams.codecs import REASONS
from streams.errors import BrokerUnreachable, Problem, StreamsError
from streams.health import Health, Server
from streams.ingest import Ingest
from streams.metrics import Metrics
from streams.settings import Settings

_log = logging.getLogger(__name__)

ROLES = ("ingest", "detect")
_Failed = Callable[[BaseException], None]

_RETRY_FIRST_S, _RETRY_LONGEST_S = 1.0, 30.0


class WorkerError(StreamsError):
    """A role failed; the process must exit so that a fresh one continues from what is saved."""


class TopicsError(StreamsError):
    """The topics are not as the configuration has them; the worker would lose or misplace data.

    Parameters
    ----------
    problems : list of Problem
        All that is wrong.
    """

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("the topics are not ready:\n" + "\n".join(f"  {problem}" for problem in problems))


def await_broker(settings: Settings, stop: threading.Event) -> list[Problem]:
    """Check the topics, waiting for an unreachable broker with growing pauses; empty when all is well."""
    pause_s = _RETRY_FIRST_S
    while not stop.is_set():
        try:
            return topics.check(settings)
        except BrokerUnreachable as error:
            _log.warning("%s; trying again in %.0f s", error, pause_s)
            stop.wait(pause_s)
            pause_s = min(2 * pause_s, _RETRY_LONGEST_S)
    return []


def run(
    settings: Settings,
    roles: tuple[str, ...],
    key: bytes,
    *,
    on_serving: Callable[[Server], None] | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Run `roles` in this process until SIGINT, SIGTERM, `stop`, or a failure.

    Parameters
    ----------
    settings : Settings
        Validated configuration.
    roles : tuple of str
        Of `ROLES`.
    key : bytes
        Secret that keys every hash.
    on_serving : callable, optional
        Called once, when metrics and health are served.
    stop : threading.Event, optional
        Set it to end the worker from another thread; otherwise signals do.

    Raises
    ------
    WorkerError
        A role failed.
    TopicsError
        The topics are missing or wrong.
    """
    asyncio.run(_run(settings, roles, key, on_serving, stop or threading.Event()))


async def _run(
    settings: Settings,
    roles: tuple[str, ...],
    key: bytes,
    on_serving: Callable[[Server], None] | None,
    stop: threading.Event,
) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()

    def end() -> None:
        stop.set()
        stopping.set()

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, end)
    metrics = Metrics(dead_letter_reasons=REASONS)
    pools = ("pools",) if "detect" in roles and settings.campaigns.links else ()
    health = Health(settings.health.stall_s, needs=(*roles, *pools))
    metrics.unready.set_function(lambda: len(health.waiting()))
    metrics.stalled.set_function(lambda: len(health.stalled()))
    failures: list[BaseException] = []

    def failed(error: BaseException) -> None:
        failures.append(error)
        loop.call_soon_threadsafe(stopping.set)

    listen = settings.metrics
    with Server(metrics.registry, health, host=listen.host, port=listen.port) as server:
        if on_serving is not None:
            on_serving(server)
        problems = await asyncio.to_thread(await_broker, settings, stop)
        for problem in problems:
            if problem.severity != "error":
                _log.warning("%s", problem)
        wrong = [problem for problem in problems if problem.severity == "error"]
        if wrong:
            raise TopicsError(wrong)
        async with contextlib.AsyncExitStack() as stack:
            if "detect" in roles and not stop.is_set():
                decided = await stack.enter_async_context(_control(settings, metrics, health, failed, stop))
                if (
                    not stop.is_set()
                ):  # or not all decisions are known, and alerts could be raised in spite of them
                    await stack.enter_async_context(_detect(settings, key, decided, metrics, health, failed))
            if "ingest" in roles and not stop.is_set():
                await stack.enter_async_context(_ingest(settings, key, metrics, health, failed))
            watch = asyncio.create_task(_watch(stop, stopping))
            await stopping.wait()
            watch.cancel()
            _log.info("stopping")
    if failures:
        raise WorkerError(str(failures[0])) from failures[0]


async def _watch(stop: threading.Event, stopping: asyncio.Event) -> None:
    while not stop.is_set():
        await asyncio.sleep(0.1)
    stopping.set()


@contextlib.asynccontextmanager
async def _ingest(
    settings: Settings, key: bytes, metrics: Metrics, health: Health, failed: _Failed
) -> AsyncIterator[None]:
    stop = threading.Event()

    def body() -> None:
        try:
            Ingest(settings, key, metrics, health).run(stop)
        except BaseException as error:  # noqa: BLE001 - handed to the worker, which exits with it
            metrics.crashes.labels(reason="failure").inc()
            _log.error("ingest stops: %s", error)
            failed(error)

    thread = threading.Thread(target=body, name="ingest")
    health.watch("ingest")
    thread.start()
    try:
        yield
    finally:
        health.unwatch("ingest")
        stop.set()
        await asyncio.to_thread(thread.join)


@contextlib.asynccontextmanager
async def _control(
    settings: Settings, metrics: Metrics, health: Health, failed: _Failed, ending: threading.Event
) -> AsyncIterator[Register]:
    """What people decided: all there is when it is entered, and from then on as it comes."""
    from streams.control_topic import Following

    register = Register()
    following = Following(
        settings.kafka.client(), topic=settings.topics.control, register=register, metrics=metrics
    )
    stop = threading.Event()

    def body() -> None:
        try:
            following.follow(stop, lambda: health.beat("control"))
        except BaseException as error:  # noqa: BLE001 - handed to the worker, which exits with it
            metrics.crashes.labels(reason="failure").inc()
            _log.error("following the control topic stops: %s", error)
            failed(error)

    thread = threading.Thread(target=body, name="control")
    try:
        await asyncio.to_thread(following.load, ending)
        health.watch("control")
        thread.start()
        yield register
    finally:
        stop.set()
        if thread.ident is not None:
            await asyncio.to_thread(thread.join)
        health.unwatch("control")
        following.close()


@contextlib.asynccontextmanager
async def _detect(
    settings: Settings, key: bytes, decided: Register, metrics: Metrics, health: Health, failed: _Failed
) -> AsyncIterator[None]:
    # Imported here, so that an ingest worker never loads Faust.
    from streams.agents import Detect, Stage
    from streams.alerting import AlertProducer
    from streams.app import build_app
    from streams.state import KafkaStateStore

    client = settings.kafka.client()
    app = build_app(settings)
    alerts = AlertProducer(client, topic=settings.topics.alerts)
    stages = [
        Stage(
            "detect",
            settings.topics.observations,
            settings.topics.state,
            f"{settings.app_id}-detect",
            build_engine(settings, key, decided),
            build_limits(settings),
            metrics.accounts,
            metrics.buffered_rows,
            metrics.observations_applied,
        )
    ]
    pool_engine = build_pool_engine(settings, key, decided)
    if pool_engine is not None:
        stages.append(
            Stage(
                "pools",
                settings.topics.sightings,
                settings.topics.pools,
                f"{settings.app_id}-detect",
                pool_engine,
                build_pool_limits(settings),
                metrics.pools,
                metrics.buffered_sightings,
                metrics.sightings_applied,
            )
        )
    stores = [
        # Transactional ids must differ, or the two would fence each other.
        KafkaStateStore(
            client,
            topic=stage.state_topic,
            app_id=settings.app_id if stage.name == "detect" else f"{settings.app_id}-{stage.name}",
        )
        for stage in stages
    ]
    agents = [
        Detect(app, settings, stage, store, alerts, metrics, health, failed)
        for stage, store in zip(stages, stores, strict=True)
    ]
    app.finalize()
    await app.start()
    flushers = [asyncio.create_task(agent.flush_forever()) for agent in agents]
    for stage, agent in zip(stages, agents, strict=True):
        health.watch(stage.name, agent.has_work)
        health.watch(f"{stage.name} save")
    try:
        yield
    finally:
        for stage, flusher in zip(stages, flushers, strict=True):
            health.unwatch(stage.name)
            health.unwatch(f"{stage.name} save")
            flusher.cancel()
        await asyncio.gather(*flushers, return_exceptions=True)
        started = time.monotonic()
        for agent in agents:
            if agent.failure is None:
                await agent.flush()
            agent.ending = True
        for store in stores:
            store.stop()
        await app.stop()
        alerts.close()
        for agent in agents:
            agent.close()
        _log.info("detect stopped in %.1f s", time.monotonic() - started)
