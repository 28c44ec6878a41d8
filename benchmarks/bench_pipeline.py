"""The pipeline on a real broker: CPU per event as a ratio to fetch-and-parse, latency, size of state.

    make bench            (ARGS="--events 100000 --rounds 5")

Absolute times depend on the machine, so every round measures everything once, in turn, each in a
process of its own, and what is reported is the median over rounds of the ratio to the floor of the
same round. The floor is what nobody can avoid: fetch the same events with confluent-kafka and parse
them with the same typed decoder.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
import urllib.request

import orjson
from confluent_kafka import Consumer, Producer

SOURCE_PARTITIONS = 4
KEY = b"benchmark key, not a secret"


def settings_for(name: str, bootstrap: str, requests: str):
    from streams.settings import load_settings

    return load_settings(
        None,
        {
            "kafka.bootstrap_servers": bootstrap,
            "app_id": name,
            "hash_key": KEY.decode(),
            "topics.partitions": 4,
            "topics.replication_factor": 1,
            "metrics.port": 0,
            "topics.requests": requests,
            **{
                f"topics.{role}": f"{name}.{role}"
                for role in ("observations", "sightings", "state", "alerts", "control", "deadletter")
            },
        },
    )


# -- measured in child processes -----------------------------------------------------------------


def floor(bootstrap: str, requests: str, events: int) -> dict[str, float]:
    """Fetch and parse."""
    from streams.codecs import EventLimits, decode_event

    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"floor-{os.getpid()}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([requests])
    limits, read = EventLimits(), 0
    while not read:
        read += sum(1 for message in consumer.consume(500, 1.0) if message.error() is None)
    first, cpu, wall = read, time.process_time(), time.perf_counter()
    while read < events:
        for message in consumer.consume(500, 1.0):
            if message.error() is None:
                decode_event(message.value(), limits)
                read += 1
    result = per_event(read - first, cpu, wall)
    consumer.close()
    return result


def ingest(bootstrap: str, name: str, requests: str, events: int) -> dict[str, float]:
    """Bus to delivered observations."""
    from streams.health import Health
    from streams.ingest import Ingest
    from streams.metrics import Metrics

    metrics, stop = Metrics(process=False), threading.Event()
    worker = Ingest(settings_for(name, bootstrap, requests), KEY, metrics, Health(60))
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    await_count(metrics.events_read, 1)
    first, cpu, wall = metrics.events_read._value.get(), time.process_time(), time.perf_counter()
    await_count(metrics.events_read, events)
    result = per_event(events - first, cpu, wall)
    # Detect waits for sources of which it does not know that they have ended: let ingest say so.
    time.sleep(3)
    stop.set()
    thread.join()
    return result


def detect(bootstrap: str, name: str, requests: str, events: int) -> dict[str, float]:
    """Observations to applied, saved state and delivered alerts."""
    from streams import worker

    kept: dict[str, object] = {}

    def keep(name: str) -> None:
        original = getattr(worker, name)

        def make(*given: object, **options: object) -> object:
            kept[name] = original(*given, **options)
            return kept[name]

        setattr(worker, name, make)

    keep("Metrics")
    keep("Health")
    stop, results = threading.Event(), []

    def measure() -> None:
        while "Health" not in kept or kept["Health"].waiting():
            time.sleep(0.001)
        cpu, wall = time.process_time(), time.perf_counter()
        await_count(kept["Metrics"].observations_applied, events)
        results.append(per_event(events, cpu, wall))
        stop.set()

    thread = threading.Thread(target=measure)
    thread.start()
    worker.run(settings_for(name, bootstrap, requests), ("detect",), KEY, stop=stop)
    thread.join()
    return results[0] | state_sizes(name, bootstrap, requests)


def await_count(counter, count: int) -> None:
    """Wait until a counter of this process has reached `count`."""
    deadline = time.monotonic() + 300
    while counter._value.get() < count:
        time.sleep(0.005)
        if time.monotonic() > deadline:
            raise SystemExit(f"{counter._value.get():.0f} of {count} events within five minutes")


def per_event(events: int, cpu: float, wall: float) -> dict[str, float]:
    return {
        "cpu_us": (time.process_time() - cpu) / events * 1e6,
        "wall_us": (time.perf_counter() - wall) / events * 1e6,
    }


def state_sizes(name: str, bootstrap: str, requests: str) -> dict[str, float]:
    """Encoded size of saved accounts, and resident size of the same accounts as live objects."""
    import resource

    from streams.build import build_engine
    from streams.envelope import unseal
    from streams.state import read_state

    settings = settings_for(name, bootstrap, requests)
    records = {}
    for partition in range(settings.topics.partitions):
        records.update(read_state(settings.kafka.client(), settings.topics.state, partition)[1])
    if not records:
        return {}
    engine = build_engine(settings, KEY)
    sizes = sorted(map(len, records.values()))
    copies = max(1, 20_000 // len(records))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    import psutil

    process = psutil.Process()
    before = process.memory_info().rss
    live = [
        engine.restore(account_id, unseal(record))
        for _ in range(copies)
        for account_id, record in records.items()
    ]
    resident = (process.memory_info().rss - before) / len(live)
    return {
        "state_bytes_median": sizes[len(sizes) // 2],
        "state_bytes_max": sizes[-1],
        "resident_bytes": resident,
        "accounts": len(records),
    }


# -- the rounds ----------------------------------------------------------------------------------


def child(*arguments: object) -> dict[str, float]:
    """Run one measurement in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--child", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{arguments}: exit {done.returncode}\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def make_events(count: int, seed: int = 7) -> list[bytes]:
    """Events of the built-in generator, in event-time order."""
    import itertools

    from streams.simulate import BuiltinPrompts, SimulationSpec, compose

    accounts = max(20, count // 40)
    traffic = compose(SimulationSpec(accounts=accounts, seed=seed), BuiltinPrompts())
    events = [orjson.dumps(event) for event in itertools.islice(traffic, count)]
    if len(events) < count:
        raise SystemExit(f"the generator gave {len(events)} of {count} events")
    return events


def send(bootstrap: str, topic: str, events: list[bytes], rate: float | None = None) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "compression.type": "lz4"})
    started = time.monotonic()
    for sent, event in enumerate(events, 1):
        while True:
            try:
                producer.produce(topic, event, partition=sent % SOURCE_PARTITIONS)
                break
            except BufferError:
                producer.poll(0.05)
        producer.poll(0)
        if rate and sent % 20 == 0 and (ahead := sent / rate - (time.monotonic() - started)) > 0:
            time.sleep(ahead)
    producer.flush(60)


def latency(bootstrap: str, broker, events: list[bytes], rate: float) -> dict[str, float]:
    """Quantiles of append-to-applied latency at a given rate, from the worker's own histogram."""
    name, requests = f"bench-latency-{os.getpid()}", f"bench-latency-{os.getpid()}.requests"
    broker.create_topic(requests, SOURCE_PARTITIONS)
    settings = settings_for(name, bootstrap, requests)
    from streams import topics

    topics.create(settings)
    environment = {
        **os.environ,
        "EXTRACTION_KAFKA__BOOTSTRAP_SERVERS": bootstrap,
        "EXTRACTION_APP_ID": name,
        "EXTRACTION_HASH_KEY": KEY.decode(),
        "EXTRACTION_TOPICS__PARTITIONS": "4",
        "EXTRACTION_TOPICS__REPLICATION_FACTOR": "1",
        "EXTRACTION_TOPICS__REQUESTS": requests,
        "EXTRACTION_METRICS__PORT": "0",
        **{
            f"EXTRACTION_TOPICS__{role.upper()}": f"{name}.{role}"
            for role in ("observations", "sightings", "state", "alerts", "control", "deadletter")
        },
    }
    worker = subprocess.Popen(
        [sys.executable, "-c", "from streams.cli import main; main()", "worker"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        url = None
        for line in worker.stderr:
            if "metrics and health at" in line:
                url = line.rsplit(" ", 1)[1].strip()
                break
        threading.Thread(target=worker.stderr.read, daemon=True).start()
        now_ms = int(time.time() * 1000)
        stamped = []
        for number, value in enumerate(events):
            event = orjson.loads(value)
            event["time"] = now_ms + int(number / rate * 1000) - 60_000
            stamped.append(orjson.dumps(event))
        warm = int(rate * 5)
        send(bootstrap, requests, stamped[:warm], rate)
        before = buckets(url)
        send(bootstrap, requests, stamped[warm:], rate)
        after = buckets(url)
    finally:
        worker.terminate()
        worker.wait(30)
    counts = {edge: after[edge] - before.get(edge, 0) for edge in after}
    return {f"p{share:g}": quantile(counts, share / 100) for share in (50, 90, 99)}


def buckets(url: str) -> dict[float, float]:
    page = urllib.request.urlopen(f"{url}/metrics", timeout=10).read().decode()
    prefix = 'extraction_applied_latency_seconds_bucket{le="'
    found = {}
    for line in page.splitlines():
        if line.startswith(prefix):
            edge, _, count = line.removeprefix(prefix).partition('"} ')
            found[float(edge)] = float(count)
    return found


def quantile(counts: dict[float, float], share: float) -> float:
    """Quantile of a cumulative histogram, interpolated inside its bucket as Prometheus does."""
    edges = sorted(counts)
    wanted, low, below = share * counts[edges[-1]], 0.0, 0.0
    for edge in edges:
        if counts[edge] >= wanted:
            inside = counts[edge] - below
            return (
                edge
                if inside == 0 or edge == float("inf")
                else low + (edge - low) * (wanted - below) / inside
            )
        low, below = edge, counts[edge]
    return edges[-1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        what, *rest = options.child
        *names, events = rest
        print(json.dumps({"floor": floor, "ingest": ingest, "detect": detect}[what](*names, int(events))))
        return

    from streams import topics
    from tests.kafka.broker import obtain_broker

    events = make_events(options.events)
    size = statistics.mean(map(len, events))
    rounds = []
    with obtain_broker() as broker:
        bootstrap = broker.bootstrap_servers
        print(
            f"Apache Kafka {broker.version}; {len(events)} events of {size:.0f} bytes on average", flush=True
        )
        requests = f"bench-{os.getpid()}.requests"
        broker.create_topic(requests, SOURCE_PARTITIONS)
        send(bootstrap, requests, events)
        for number in range(options.rounds):
            name = f"bench-{os.getpid()}-{number}"
            topics.create(settings_for(name, bootstrap, requests))
            rounds.append(
                {
                    "floor": child("floor", bootstrap, requests, len(events)),
                    "ingest": child("ingest", bootstrap, name, requests, len(events)),
                    "detect": child("detect", bootstrap, name, requests, len(events)),
                }
            )
        busiest = statistics.median(r["ingest"]["cpu_us"] + r["detect"]["cpu_us"] for r in rounds)
        rate = 0.5 * 1e6 / busiest
        waits = latency(bootstrap, broker, make_events(int(rate * 20), seed=8), rate)
    report(rounds, rate, waits)


def report(rounds: list[dict[str, dict[str, float]]], rate: float, waits: dict[str, float]) -> None:
    """Print the tables."""
    print(f"\n{'stage':<18} {'CPU us/event':>12} {'x floor, median':>16} {'min':>6} {'max':>6}")
    for stage in ("floor", "ingest", "detect", "ingest + detect"):
        parts = stage.split(" + ")
        cost = [sum(r[part]["cpu_us"] for part in parts) for r in rounds]
        ratio = [c / r["floor"]["cpu_us"] for c, r in zip(cost, rounds, strict=True)]
        print(
            f"{stage:<18} {statistics.median(cost):>12.1f} {statistics.median(ratio):>16.1f} "
            f"{min(ratio):>6.1f} {max(ratio):>6.1f}"
        )
    state = rounds[-1]["detect"]
    print(
        f"\nstate of {state['accounts']:.0f} accounts: {state['state_bytes_median']:.0f} bytes encoded "
        f"(median), {state['state_bytes_max']:.0f} at most; {state['resident_bytes']:.0f} bytes resident each"
    )
    print(
        f"append to applied at {rate:.0f} events/s (half of one core's capacity): "
        + ", ".join(f"{name} {value * 1000:.0f} ms" for name, value in waits.items())
    )


if __name__ == "__main__":
    main()
