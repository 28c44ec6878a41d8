"""What looking for groups costs: CPU of the whole pipeline without a broker, by number of links.

    python -m benchmarks.bench_links        (--accounts 600 --rounds 5)

Every round runs every setting once, in turn; what is reported is the median over rounds of the ratio to
the run without links in the same round.
"""

import argparse
import statistics
import time

import orjson

from streams import offline
from streams.intake import Record
from streams.replay import replay
from streams.settings import Settings
from streams.simulate import BuiltinPrompts, SimulationSpec, compose

SETTINGS = ((), ("payment",), ("payment", "device", "organisation", "network"))
_READ_MS = 1 << 42


def cpu_s(records: list[Record], links: tuple[str, ...]) -> float:
    """CPU seconds of one pass."""
    settings = Settings(campaigns={"links": links})  # type: ignore[arg-type]
    pipeline = offline.build(settings, b"benchmark key, not a secret", source="bench")
    started = time.process_time()
    for _ in replay(pipeline, records):
        pass
    return time.process_time() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--accounts", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    spec = SimulationSpec(accounts=options.accounts, days=7, seed=1)
    records = [
        Record(0, at, _READ_MS, orjson.dumps(event))
        for at, event in enumerate(compose(spec, BuiltinPrompts()))
    ]
    ratios: dict[tuple[str, ...], list[float]] = {links: [] for links in SETTINGS[1:]}
    for _ in range(options.rounds):
        floor = cpu_s(records, SETTINGS[0])
        for links, found in ratios.items():
            found.append(cpu_s(records, links) / floor)
    print(f"{len(records)} events, {options.rounds} rounds; CPU relative to no links")
    for links, found in ratios.items():
        name = ", ".join(links)
        print(f"{name:45} {statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})")


if __name__ == "__main__":
    main()
