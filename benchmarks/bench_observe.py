"""What turning bytes into observations costs: CPU per event of decoding, and of observing in batches.

    python -m benchmarks.bench_observe [EVENTS.jsonl]

Absolute times depend on the machine; the ratio to decoding the same events, interleaved in the same
run, hardly does. Without a file, events of about a kilobyte are made up from a fixed seed.
"""

import argparse
import json
import random
import time
from collections.abc import Callable
from pathlib import Path

from detectors.observe import Observer
from streams.codecs import EventLimits, decode_event

BATCHES = (1, 50, 500)
ROUNDS = 15
STEMS = "ka lo mi ren sta vol pre ter nan sul qui dor bel fam gri hos jut wex yor zin"


def made_up_events(count: int) -> list[bytes]:
    """Events of accounts that ask in prose, in code and from templates."""
    rng = random.Random(20_260)
    stems = STEMS.split()
    words = ["".join(rng.choices(stems, k=rng.randint(1, 4))) for _ in range(4_000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    events = []
    for at in range(count):
        prose = " ".join(rng.choices(words, weights, k=rng.randint(10, 130)))
        form = rng.random()
        if form < 0.2:
            prose = f"def solve(data):\n    # {prose}\n    return [x + {at} for x in data]\n"
        elif form < 0.5:
            prose = f"Classify the following ticket.\nTicket {at}: {prose}\nAnswer only with the label."
        events.append(
            {
                "schema": "extraction.request/1",
                "event_id": f"event-{at:08d}",
                "time": 1_770_000_000_000 + 40 * at,
                "account_id": f"account-{at % 300}",
                "org_id": f"org-{at % 50}",
                "conversation_id": f"conversation-{at // 3}",
                "model": "large-2026-01",
                "messages": [
                    {"role": "system", "content": f"You are a helpful assistant of company {at % 40}."},
                    {"role": "user", "content": prose},
                ],
                "params": {"max_tokens": 1024, "temperature": 0.7},
                "usage": {"input_tokens": len(prose) // 4, "output_tokens": rng.randint(20, 600)},
                "finish_reason": "stop",
                "client": {"ip": f"192.0.2.{at % 250}", "asn": 64_500, "user_agent": "sdk/1.4"},
                "account": {"created_at": 1_700_000_000_000, "tier": "build", "pathway": "standard"},
            }
        )
    return [json.dumps(event).encode() for event in events]


def cpu_us(work: Callable[[], object], events: int) -> float:
    """CPU microseconds per event of one call."""
    start = time.process_time()
    work()
    return (time.process_time() - start) / events * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", nargs="?", type=Path, help="request events, one per line")
    parser.add_argument("--events", type=int, default=2_000, help="how many to measure (default 2000)")
    arguments = parser.parse_args()
    if arguments.file:
        values = arguments.file.read_bytes().splitlines()[: arguments.events]
    else:
        values = made_up_events(arguments.events)
    limits, observer = EventLimits(), Observer(b"benchmark key, not a secret")
    events = [decode_event(value, limits) for value in values]
    few = events[:200]

    def observe(batch: int) -> Callable[[], object]:
        some = few if batch == 1 else events
        return lambda: [observer.observe(some[at : at + batch]) for at in range(0, len(some), batch)]

    decode: list[float] = []
    observed: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    for _ in range(ROUNDS):
        decode.append(cpu_us(lambda: [decode_event(value, limits) for value in values], len(values)))
        for batch, times in observed.items():
            times.append(cpu_us(observe(batch), len(few if batch == 1 else events)))
    # The least of the rounds: what disturbs a round on a shared machine only ever adds.
    floor = min(decode)
    size = sum(map(len, values)) / len(values)
    print(f"{len(values)} events of {size:,.0f} bytes on average; CPU per event, least of {ROUNDS} rounds")
    print(f"{'decode':24}{floor:8.2f} us   1.0 x")
    for batch, times in observed.items():
        print(f"{f'observe, batches of {batch}':24}{min(times):8.2f} us {min(times) / floor:5.1f} x")


if __name__ == "__main__":
    main()
