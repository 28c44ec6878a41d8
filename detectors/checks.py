"""What every detector must keep to, as checks that run on any registry entry; collected in `ALL`.

Each takes an entry and raises `ConformanceError` with the reason. Observations are tuples, so that
a detector leaves its input alone needs no check.
"""

import math
import random
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from detectors.base import Detector, Plain, learn_then_score
from detectors.catalog.benchmark import Benchmark
from detectors.catalog.elicitation import Elicitation
from detectors.errors import DetectorError, StateError
from detectors.observation import FLAG_LOGIT_BIAS, FLAG_LOGPROBS, PURPOSES, VOCABULARY_SAMPLE, Observation
from detectors.observe.marks import MARKS
from detectors.registry import Ceilings, Entry

WINDOW = 1024
"""Longest stream a detector sees before it starts afresh."""

MOST_BYTES = 800
"""Ceiling of one detector's encoded state. Bytes."""

_CUTS = (0, 1, 7, 40, 150)
_NOT_STATES: tuple[Plain, ...] = (
    None,
    True,
    7,
    -1.5,
    "state",
    b"\xff" * 5,
    [],
    {},
    [None] * 4,
    [[]],
    [7, b"\x01"],
)
_MINUTE_MS = 60_000
_NOON_MS = 1_767_268_800_000  # 2026-01-01T12:00:00Z


class ConformanceError(DetectorError):
    """A detector breaks a rule that all must keep to."""


# -- streams --------------------------------------------------------------------------------------


def words(rng: random.Random, vocabulary: int, count: int = VOCABULARY_SAMPLE) -> bytes:
    """Sample of words, from as many different ones as `vocabulary`, in an observation's encoding."""
    drawn = sorted({1 + rng.randrange(vocabulary) * 7919 % 65535 for _ in range(count)})
    return b"".join(word.to_bytes(2, "little") for word in drawn).ljust(2 * VOCABULARY_SAMPLE, b"\0")


def purpose(*steps: int) -> bytes:
    """Log-odds of the first kinds in an observation's encoding; those of other kinds are unknown."""
    return struct.pack(f"{PURPOSES}b", *steps, *[-128] * (PURPOSES - len(steps)))


def mark(*families: str) -> int:
    """Bits of mark families."""
    return sum(1 << MARKS.index(family) for family in families)


def ordinary(seed: int, count: int) -> Iterator[Observation]:
    """Exchanges of a person: recurring topics and words, pauses, hardly ever a mark."""
    rng = random.Random(seed)
    at = _NOON_MS
    for i in range(count):
        pause = 8 * 60 if i % 24 == 23 else rng.expovariate(1 / 5)
        at += int(pause * _MINUTE_MS)
        chars = int(rng.lognormvariate(4.5, 1.0)) + 5
        yield Observation(
            "account",
            f"{seed}-{i}",
            order_ms=at,
            time_ms=at,
            offset=i,
            prompt=rng.getrandbits(60) + 1,
            prefix=rng.randrange(1, 200),
            suffix=rng.randrange(1, 400),
            layout=rng.randrange(1, 200),
            purpose=purpose(-rng.randrange(100)),
            bucket=rng.randrange(60) * 41,
            vocabulary=words(rng, 400, 8),
            marks=mark("step_by_step") if rng.random() < 0.01 else 0,
            chars=chars,
            words=chars // 6 + 1,
            entropy=4.8 - 5.9 / chars**0.49 + rng.gauss(0, 0.1),
            compression=0.31 + 3.8 / chars**0.4 + rng.gauss(0, 0.03),
            temperature=0.7,
            max_tokens=1024,
        )


def _changed(
    count: int, change: Callable[[random.Random, int, Observation], Observation]
) -> list[Observation]:
    rng = random.Random(99)
    return [change(rng, i, seen) for i, seen in enumerate(ordinary(5, count))]


UNUSUAL: dict[str, Callable[[int], list[Observation]]] = {
    "benchmark": lambda n: _changed(n, lambda _, __, o: o._replace(marks=mark(Benchmark.families[0]))),
    "cadence": lambda n: _changed(
        n, lambda _, i, o: o._replace(order_ms=_NOON_MS + i * 10 * _MINUTE_MS, time_ms=_NOON_MS)
    ),
    "compressibility": lambda n: _changed(n, lambda _, __, o: o._replace(compression=o.compression + 0.4)),
    "coverage": lambda n: _changed(n, lambda rng, __, o: o._replace(bucket=rng.randrange(4096))),
    "elicitation": lambda n: _changed(n, lambda _, __, o: o._replace(marks=mark(Elicitation.families[2]))),
    "entropy": lambda n: _changed(n, lambda _, __, o: o._replace(entropy=o.entropy + 1.0)),
    "probing": lambda n: _changed(
        n,
        lambda _, i, o: o._replace(
            flags=FLAG_LOGIT_BIAS | FLAG_LOGPROBS, logit_bias=i + 1, max_tokens=1, prompt=9
        ),
    ),
    "purpose": lambda n: _changed(n, lambda _, __, o: o._replace(purpose=purpose(70))),
    "template": lambda n: _changed(n, lambda _, __, o: o._replace(prefix=3, layout=3)),
    "vocabulary": lambda n: _changed(n, lambda rng, __, o: o._replace(vocabulary=words(rng, 60_000, 8))),
}
"""Per detector, a stream on which its score must rise above that of any ordinary one."""


def hostile(count: int) -> Iterator[Observation]:
    """Everything new in every exchange and every value at its limit: the most state there can be."""
    rng = random.Random(13)
    for i in range(count):
        yield Observation(
            "account",
            "é" * 250 + str(i),
            order_ms=(1 << 50) if i % 2 else -i,
            time_ms=(1 << 50) - i,
            partition=rng.getrandbits(32),
            offset=(1 << 62) + i,
            prompt=rng.getrandbits(64) | 1 << 63,
            prefix=rng.getrandbits(64) | 1 << 63,
            suffix=rng.getrandbits(64) | 1 << 63,
            layout=rng.getrandbits(64) | 1 << 63,
            bucket=i * 4 % 4096 + i * 4 // 4096,
            vocabulary=rng.randbytes(2 * VOCABULARY_SAMPLE),
            purpose=purpose(*([127] * PURPOSES)) if i % 3 else purpose(*([-127] * PURPOSES)),
            marks=0xFFFFFFFF if i % 3 else 0,
            chars=0xFFFFFFFF,
            words=0xFFFFFFFF,
            flags=0xFFFF,
            entropy=8.0,
            compression=1e30,
            max_tokens=0,
            temperature=float("inf") if i % 2 else -1e30,
            choices=(1 << 31) - 1,
            top_logprobs=(1 << 31) - 1,
            logit_bias_keys=(1 << 31) - 1,
            logit_bias=rng.getrandbits(64) | 1 << 63,
        )


def _awkward() -> list[Observation]:
    """Late, repeated and simultaneous exchanges, empty and absent ones in between."""
    calm = list(ordinary(3, 40))
    late = [seen._replace(order_ms=_NOON_MS - 1, time_ms=0) for seen in calm[:5]]
    same = [seen._replace(order_ms=calm[20].order_ms) for seen in calm[20:30]]
    empty = [Observation("account", f"empty-{i}", order_ms=_NOON_MS) for i in range(5)]
    return [*calm[:20], *late, *same, *empty, *calm[30:], *calm[30:]]


def _streams() -> list[list[Observation]]:
    return [list(ordinary(1, 200)), list(hostile(200)), _awkward(), [next(ordinary(1, 1))] * 50]


# -- checks ---------------------------------------------------------------------------------------


def scores_are_finite(entry: Entry) -> None:
    """A score is None or a finite float, whatever the stream."""
    for stream in _streams():
        for score in _scores(_make(entry), stream):
            if score is not None and not (isinstance(score, float) and math.isfinite(score)):
                raise ConformanceError(f"{entry.spec.id}: score {score!r} is neither None nor a finite float")


def scoring_changes_nothing(entry: Entry) -> None:
    """`score_one` and `explain` leave the snapshot equal."""
    detector = _make(entry)
    for seen in ordinary(1, 60):
        detector.learn_one(seen)
        before = _encoded(detector)
        score = detector.score_one()
        detector.explain(score or 0.0, 0.0)
        if detector.score_one() != score or _encoded(detector) != before:
            raise ConformanceError(f"{entry.spec.id}: scoring or explaining changes the state")


def same_stream_same_scores(entry: Entry) -> None:
    """Two of a kind agree: no clock, no randomness, nothing shared between accounts."""
    for stream in _streams():
        first = _scores(_make(entry), stream)
        if first != _scores(_make(entry), stream):
            raise ConformanceError(f"{entry.spec.id}: the same stream gives different scores")


def restores_in_mid_stream(entry: Entry) -> None:
    """Snapshot, msgpack, restore at any point: later scores and snapshots stay equal to the last bit."""
    for stream in _streams():
        for cut in _CUTS:
            whole, again = _make(entry), _make(entry)
            for seen in stream[:cut]:
                whole.learn_one(seen)
            again.restore(msgspec.msgpack.decode(_encoded(whole)))
            rest = stream[cut:]
            if _scores(whole, rest) != _scores(again, rest) or _encoded(whole) != _encoded(again):
                raise ConformanceError(f"{entry.spec.id}: differs after a restore at {cut} exchanges")


def refuses_damaged_state(entry: Entry) -> None:
    """Anything that is no snapshot raises `StateError` and leaves the detector as it was."""
    detector = _make(entry)
    for seen in ordinary(1, 30):
        detector.learn_one(seen)
    before = _encoded(detector)
    for damaged in (*_NOT_STATES, *_damaged(detector.snapshot())):
        try:
            detector.restore(damaged)
        except StateError:
            if _encoded(detector) != before:
                raise ConformanceError(f"{entry.spec.id}: a refused restore changes the state") from None
        else:
            raise ConformanceError(f"{entry.spec.id}: restores {damaged!r:.80}")


def state_is_plain_and_bounded(entry: Entry) -> None:
    """State is numbers and bytes without text, below a ceiling, on the most hostile stream."""
    detector = _make(entry)
    for i, seen in enumerate(hostile(WINDOW)):
        detector.learn_one(seen)
        if i % 64 == 0 or i == WINDOW - 1:
            _require_plain(entry.spec.id, detector.snapshot())
            size = len(_encoded(detector))
            if size > MOST_BYTES:
                raise ConformanceError(f"{entry.spec.id}: {size} bytes after {i + 1} exchanges")


def abstains_without_its_fields(entry: Entry) -> None:
    """Exchanges that carry nothing it reads give no score: absent is not innocent."""
    if "order_ms" in entry.spec.reads:  # always present; abstains while there is no span to speak of
        stream = [Observation("account", str(i), order_ms=_NOON_MS) for i in range(50)]
    else:
        stream = [Observation("account", str(i), order_ms=_NOON_MS + i * 10**7) for i in range(50)]
    if any(score is not None for score in _scores(_make(entry), stream)):
        raise ConformanceError(f"{entry.spec.id}: scores exchanges that have none of {entry.spec.reads}")


def separates(entry: Entry) -> None:
    """The unusual stream scores higher than every ordinary one, so learning nothing fails."""
    unusual = _scores(_make(entry), UNUSUAL[entry.spec.id](200))[-1]
    for seed in range(5):
        usual = _scores(_make(entry), ordinary(seed, 200))[-1]
        if unusual is None or usual is None or unusual <= usual:
            raise ConformanceError(f"{entry.spec.id}: unusual stream {unusual}, ordinary {usual}")


def explains_in_one_sentence(entry: Entry) -> None:
    """An explanation is one short sentence with a number in it."""
    detector = _make(entry)
    for seen in UNUSUAL[entry.spec.id](100):
        detector.learn_one(seen)
    said = detector.explain(detector.score_one() or 0.0, 0.1)
    if not 30 <= len(said) <= 300 or not said.endswith(".") or not any(c.isdigit() for c in said):
        raise ConformanceError(f"{entry.spec.id}: {said!r} is not a short sentence with a number")


def specification_is_whole(entry: Entry) -> None:
    """The specification names real fields, a unit, and sane bounds."""
    spec = entry.spec
    if not set(spec.reads) <= set(Observation._fields) or not spec.reads or not spec.unit:
        raise ConformanceError(f"{spec.id}: reads {spec.reads}, unit {spec.unit!r}")
    if spec.version < 1 or spec.cap <= 0 or spec.grain <= 0 or _make(entry).spec != spec:
        raise ConformanceError(f"{spec.id}: version, cap and grain must be positive, and the detector's own")


ALL: tuple[Callable[[Entry], None], ...] = (
    specification_is_whole,
    scores_are_finite,
    scoring_changes_nothing,
    same_stream_same_scores,
    restores_in_mid_stream,
    refuses_damaged_state,
    state_is_plain_and_bounded,
    abstains_without_its_fields,
    separates,
    explains_in_one_sentence,
)


# -- helpers --------------------------------------------------------------------------------------


def _make(entry: Entry) -> Detector:
    return entry.make(Ceilings())


def _scores(detector: Detector, stream: Iterable[Observation]) -> list[float | None]:
    return [learn_then_score(detector, seen) for seen in stream]


def _encoded(detector: Detector) -> bytes:
    return msgspec.msgpack.encode(detector.snapshot())


def _damaged(state: Plain) -> Iterator[Plain]:
    """Copies of a state in which one value, at any depth, is of another type, or a list is one longer."""
    if not isinstance(state, Sequence) or isinstance(state, bytes | str):
        yield "text"
        yield [state]
        return
    yield [*state, 0]
    yield list(state[:-1])
    for place, value in enumerate(state):
        for damaged in _damaged(value):
            yield [*state[:place], damaged, *state[place + 1 :]]


def _require_plain(name: str, state: Plain) -> None:
    if isinstance(state, list):
        for value in state:
            _require_plain(name, value)
    elif state is not None and type(state) not in (bool, int, float, bytes):
        raise ConformanceError(
            f"{name}: state holds {type(state).__name__}; only numbers, bytes and lists may be kept"
        )
