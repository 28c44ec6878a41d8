"""Judges composed accounts with weights, limits and a reference that never saw their source."""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from benchmarks.baselines import BASELINES
from benchmarks.composition import FOLDS, Account, Composer
from detectors.calibration import LOOKS, Profile, Provenance
from detectors.engine import DetectionSettings, Engine
from detectors.fitting import Trajectory, fit
from detectors.learning import Learner, PromptSet
from detectors.observation import PURPOSES, Observation
from detectors.observe.purpose import NO_PURPOSES, UNKNOWN, PurposeModel
from detectors.registry import Ceilings
from streams.profile import GENERATOR, Part, account_reference, all_limits
from streams.simulate import BuiltinPrompts

COMPARED = ("benign", "known kind")  # settings in which the published methods run too
_BASELINE_REFERENCE = 100  # accounts; more moves the baselines' thresholds, not their order


class Judged(NamedTuple):
    """Result for one account.

    Attributes
    ----------
    setting, account_class, source : str
    shares : tuple of float
        Of ordinary accounts that get as far, look by look.
    scores : tuple of float
        Largest score over the looks, of this detector (-log10 of the smallest share) and each baseline.
    raw : tuple of tuples
        Every detector's score at each look, in the registry's order; None where one abstains.
    fold : int
        The group of sources it was judged without.
    """

    setting: str
    account_class: str
    source: str
    shares: tuple[float, ...]
    scores: tuple[float, ...] = ()
    raw: tuple[tuple[float | None, ...], ...] = ()
    fold: int = 0


def judge(
    engine: Engine, observations: Iterable[Observation]
) -> tuple[tuple[float, ...], tuple[tuple[float | None, ...], ...]]:
    """Share, and the detectors' scores, at each look of the first window."""
    account = engine.fresh("account")
    shares, raw = [], []
    for number, seen in enumerate(itertools.islice(observations, LOOKS[-1]), start=1):
        engine.apply(account, seen, "evaluation")
        if number in LOOKS and account.count == number:
            shares.append(engine.assess(account, LOOKS.index(number))[0])
            raw.append(tuple(detector.score_one() for detector in account.detectors))
    return tuple(shares), tuple(raw)


class Fold(NamedTuple):
    """What a group of sources was judged with."""

    limits: Ceilings
    reference: list[Trajectory]


class Reader:
    """Reads texts with weights that were learned without groups of sources.

    Parameters
    ----------
    composer : Composer
    prompts : sequence of PromptSet
        What weights are learned from.
    """

    def __init__(self, composer: Composer, prompts: Sequence[PromptSet]) -> None:
        self._composer = composer
        self._group_of = {source.name: source.fold for source in composer.sources}
        self._unit_of_text = {
            composer.texts.number(text[:8192]): one.source
            for one in prompts
            if one.part
            for text in one.texts
        }
        learner = Learner(prompts)
        units = sorted({one.source for one in prompts})
        self._read: dict[tuple[int, int], list[bytes]] = {}
        self.models: dict[int, PurposeModel] = {}
        """By group of sources, the weights learned without it."""
        for fold, left in itertools.product(range(FOLDS), range(-1, FOLDS)):
            if fold == left:
                continue
            model = learner.learn(
                without={
                    unit
                    for unit in units
                    if self._group_of.get(unit.split("/")[0]) == fold or self._inner(unit, fold) == left
                }
            )
            self._read[fold, left] = composer.texts.purposes(model)
            if left < 0:
                self.models[fold] = model

    def population(self, fold: int) -> list[tuple[Part, list[Observation]]]:
        """Ordinary accounts of the other groups, each read with weights learned without its own."""
        population = []
        for source, account in self._composer.reference:
            if source is None:
                group = f"{GENERATOR}/repeating" if account.repeats else ""
                part = Part(group, GENERATOR, GENERATOR, BuiltinPrompts(), 0, 0)
                purposes = self._read[fold, -1]
            elif source.fold != fold:
                unit = self._unit(account)
                group = f"{source.name}/repeating" if account.repeats else unit
                part = Part(group, source.name, unit, BuiltinPrompts(), 0, 0)
                purposes = self._read[fold, self._inner(unit, fold)]
            else:
                continue
            population.append((part, _with(account, purposes)))
        return population

    def observations(self, account: Account, fold: int, blank: str = "") -> list[Observation]:
        """An account of a group of sources, read with what was learned without it, and without one kind."""
        kinds = [kind.partition("/")[0] for kind in self.models[fold].kinds]
        return _with(
            account, self._read[fold, -1], [at for at, kind in enumerate(kinds) if blank and kind == blank]
        )

    def _unit(self, account: Account) -> str:
        """The chunk of templates that an account's prompts are of, else its source."""
        known = self._unit_of_text
        return next((known[text] for text in account.texts if text in known), account.unit)

    def _inner(self, unit: str, fold: int) -> int:
        """Group in which a unit of the reference is left out when another group is measured."""
        source, _, chunk = unit.partition("/")
        if source == GENERATOR:
            return FOLDS
        group = (self._group_of[source] + int(chunk or 0)) % FOLDS
        return group if group != fold else (group + 1) % FOLDS


def evaluate(
    composer: Composer, reader: Reader, log: Callable[[str], None]
) -> tuple[list[Judged], list[Fold]]:
    """Judge every setting with what was learned without its sources."""
    judged, folds = [], []
    for fold in range(FOLDS):
        population = reader.population(fold)
        limits, unseen = all_limits(population, reader.models[fold].kinds)
        folds.append(Fold(limits, account_reference(population, unseen)))
        engine = Engine(DetectionSettings(), profile_of(folds[-1], purposes=reader.models[fold]))
        baselines = [make() for make in BASELINES]
        ordinary = [account for _, account in population[:: max(1, len(population) // _BASELINE_REFERENCE)]]
        for baseline in baselines:
            baseline.fit(ordinary)
        for setting in composer.settings:
            if setting.fold != fold:
                continue
            for account in setting.accounts:
                seen = reader.observations(account, fold, setting.blank)
                shares, raw = judge(engine, seen)
                scores = [-math.log10(min(shares, default=1.0))]
                if setting.name in COMPARED:
                    scores += [max(baseline.scores(seen), default=0.0) for baseline in baselines]
                judged.append(
                    Judged(
                        setting.name,
                        setting.account_class,
                        setting.source,
                        shares,
                        tuple(scores),
                        raw,
                        fold,
                    )
                )
        log(f"group {fold + 1} of {FOLDS}: fitted on {len(population)} accounts")
    return judged, folds


def profile_of(fold: Fold, *, purposes: PurposeModel = NO_PURPOSES) -> Profile:
    """The profile that a group of sources is judged with."""
    return fit(
        fold.reference,
        fold.limits,
        version="evaluation",
        provenance=Provenance("evaluation", ()),
        purposes=purposes,
    )


_UNKNOWN = (UNKNOWN + 256).to_bytes(1, "little")


def _with(account: Account, purposes: Sequence[bytes], blank: Sequence[int] = ()) -> list[Observation]:
    """The account's observations with what its texts look like they are for, some kinds taken away."""

    def value(number: int) -> bytes:
        found = purposes[number]
        if not blank or found == _UNKNOWN * PURPOSES:
            return found
        return bytes(_UNKNOWN[0] if at in blank else one for at, one in enumerate(found))

    return [
        seen._replace(purpose=value(number))
        for seen, number in zip(account.observations, account.texts, strict=True)
    ]
