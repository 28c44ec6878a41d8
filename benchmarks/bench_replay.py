"""Replay of a file: its CPU against reading and parsing the same file, and its time with two processes.

    python -m benchmarks.bench_replay       (--events 60000 --rounds 5)

Every round runs the floor, one process and two processes, in turn; reported are medians over rounds of the
ratios within a round. Time includes the start of processes, which a longer file has less of.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import orjson

from detectors.events import RequestEvent
from streams.replay import read_records
from streams.settings import Settings
from streams.simulate import BuiltinPrompts, SimulationSpec, compose
from streams.spread import Job, run

_READ_MS = 1 << 42
_EXCHANGES = 60


def write(path: Path, events: int) -> int:
    """Events of simulated traffic, one per line; returns how many."""
    spec = SimulationSpec(accounts=max(events // _EXCHANGES, 2), days=7, seed=1, exchanges=_EXCHANGES)
    with path.open("wb") as out:
        count = 0
        for event in compose(spec, BuiltinPrompts()):
            out.write(orjson.dumps(event) + b"\n")
            count += 1
    return count


def floor(path: Path) -> None:
    """Read and parse."""
    decode = msgspec.json.Decoder(RequestEvent).decode
    for record in read_records([path], _READ_MS):
        decode(record.value or b"")


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds, those of ended child processes included, and wall-clock seconds."""
    before, started = os.times(), time.perf_counter()
    work()
    after, took = os.times(), time.perf_counter() - started
    return sum(after[:4]) - sum(before[:4]), took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    cpu, faster = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        count = write(path, options.events)
        job = Job(Settings(), b"benchmark key, not a secret", paths=(path,), now_ms=_READ_MS)
        for _ in range(options.rounds):
            least, _ = measured(lambda: floor(path))
            one, alone = measured(lambda: run(job))
            _, together = measured(lambda: run(job, workers=2))
            cpu.append(one / least)
            faster.append(alone / together)
    print(f"{count} events, {options.rounds} rounds")
    for name, found in (("CPU, x reading and parsing", cpu), ("two processes, x faster than one", faster)):
        print(f"{name:34} {statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})")


if __name__ == "__main__":
    main()
