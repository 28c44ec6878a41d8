"""Every detector of an account, listed by hand: what is not here does not run."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence

from detectors.base import Detector, Spec
from detectors.catalog.benchmark import Benchmark
from detectors.catalog.cadence import Cadence
from detectors.catalog.compressibility import Compressibility
from detectors.catalog.coverage import Coverage
from detectors.catalog.elicitation import Elicitation
from detectors.catalog.entropy import Entropy
from detectors.catalog.probing import Probing
from detectors.catalog.purpose import Purpose
from detectors.catalog.template import Template
from detectors.catalog.vocabulary import Vocabulary
from detectors.observation import Observation
from detectors.primitives.said import PromptCells


@dataclasses.dataclass(frozen=True, slots=True)
class Ceilings:
    """What hardly any ordinary account exceeds; part of a profile.

    Attributes
    ----------
    elicitation, benchmark, probing : tuple of float or None
        Shares of exchanges, per family or facet of the detector of this name; None for its own assumptions.
    purpose : tuple of float or None
        Mean log-odds per kind in `purposes`.
    purposes : tuple of str
        Kinds of query sets that weights were learned for.
    """

    elicitation: tuple[float, ...] | None = None
    benchmark: tuple[float, ...] | None = None
    probing: tuple[float, ...] | None = None
    purpose: tuple[float, ...] | None = None
    purposes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One detector: its specification and how it is made."""

    spec: Spec
    make: Callable[[Ceilings], Detector]


def checked(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The entries, unless two share an id."""
    ids = [entry.spec.id for entry in entries]
    repeated = sorted({one for one in ids if ids.count(one) > 1})
    if repeated:
        raise ValueError(f"registry: detector ids must be unique; repeated: {', '.join(repeated)}")
    return tuple(entries)


ENTRIES: tuple[Entry, ...] = checked(
    (
        Entry(Benchmark.spec, lambda ceilings: Benchmark(ceilings=ceilings.benchmark)),
        Entry(Cadence.spec, lambda _: Cadence()),
        Entry(Compressibility.spec, lambda _: Compressibility()),
        Entry(Coverage.spec, lambda _: Coverage()),
        Entry(Elicitation.spec, lambda ceilings: Elicitation(ceilings=ceilings.elicitation)),
        Entry(Entropy.spec, lambda _: Entropy()),
        Entry(Probing.spec, lambda ceilings: Probing(ceilings=ceilings.probing)),
        Entry(Purpose.spec, lambda known: Purpose(limits=known.purpose, kinds=known.purposes)),
        Entry(Template.spec, lambda _: Template()),
        Entry(Vocabulary.spec, lambda _: Vocabulary()),
    )
)


def make_all(ceilings: Ceilings) -> tuple[Detector, ...]:
    """One fresh detector per entry, in the registry's order."""
    return tuple(entry.make(ceilings) for entry in ENTRIES)


def learn(detectors: Iterable[Detector], seen: Observation, said: PromptCells) -> None:
    """Take one exchange of an account into its detectors, and its prompt into what the account said."""
    new = said.add(seen.prompt)
    for detector in detectors:
        if new or not detector.spec.once:
            detector.learn_one(seen)
