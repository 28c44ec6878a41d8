"""Every detector of an account, listed by hand: what is not here does not run."""

import dataclasses
from collections.abc import Callable, Sequence

from detectors.base import Detector, Spec
from detectors.catalog import benchmark, elicitation, probing
from detectors.catalog.benchmark import Benchmark
from detectors.catalog.cadence import Cadence
from detectors.catalog.compressibility import Compressibility
from detectors.catalog.coverage import Coverage
from detectors.catalog.elicitation import Elicitation
from detectors.catalog.entropy import Entropy
from detectors.catalog.probing import Probing
from detectors.catalog.template import Template
from detectors.catalog.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True, slots=True)
class BaseRates:
    """How often ordinary exchanges carry what some detectors look for; part of a profile.

    Parameters
    ----------
    elicitation : tuple of float
        Per family of `catalog.elicitation.FAMILIES`. Share, 0..1.
    benchmark : tuple of float
        Per family of `catalog.benchmark.FAMILIES`. Share, 0..1.
    probing : tuple of float
        Per facet of `catalog.probing.FACETS`. Share, 0..1.
    """

    elicitation: tuple[float, ...] = elicitation.DEFAULT_RATES
    benchmark: tuple[float, ...] = benchmark.DEFAULT_RATES
    probing: tuple[float, ...] = probing.DEFAULT_RATES


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One detector: its specification and how it is made."""

    spec: Spec
    make: Callable[[BaseRates], Detector]


def checked(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The entries, unless two share an id."""
    ids = [entry.spec.id for entry in entries]
    repeated = sorted({one for one in ids if ids.count(one) > 1})
    if repeated:
        raise ValueError(f"registry: detector ids must be unique; repeated: {', '.join(repeated)}")
    return tuple(entries)


ENTRIES: tuple[Entry, ...] = checked(
    (
        Entry(Benchmark.spec, lambda rates: Benchmark(base_rates=rates.benchmark)),
        Entry(Cadence.spec, lambda _: Cadence()),
        Entry(Compressibility.spec, lambda _: Compressibility()),
        Entry(Coverage.spec, lambda _: Coverage()),
        Entry(Elicitation.spec, lambda rates: Elicitation(base_rates=rates.elicitation)),
        Entry(Entropy.spec, lambda _: Entropy()),
        Entry(Probing.spec, lambda rates: Probing(base_rates=rates.probing)),
        Entry(Template.spec, lambda _: Template()),
        Entry(Vocabulary.spec, lambda _: Vocabulary()),
    )
)


def make_all(rates: BaseRates) -> tuple[Detector, ...]:
    """One fresh detector per entry, in the registry's order."""
    return tuple(entry.make(rates) for entry in ENTRIES)
