"""From raw scores to a false-alarm statement: the profile of ordinary accounts and how it is read.

Four steps. (1) Each detector's score is placed among those of reference accounts after as many
exchanges: its surprise, in powers of ten. (2) Ordinary accounts come in kinds, and the next kind is
not in the reference; so the surprise is compared with those of reference accounts whose whole kind
was left out. A statistic by which every product looks strange to the others, such as the shape of
its text, loses its weight here, and one by which they do not, such as elicitation, keeps it.
(3) The largest surprises are added up with falling weights; how dependent they are does not matter,
because (4) the sum is itself compared with the sums that reference accounts ever reach up to the
end of a window, over all looks at once (Westfall and Young, 1993, Resampling-Based Multiple
Testing). What comes out is the share of ordinary accounts that ever get so far.
"""

import bisect
import dataclasses
import itertools
import math
import operator
import pathlib
from collections.abc import Mapping, Sequence
from importlib import resources

import msgspec

from detectors.base import Spec
from detectors.errors import ConfigError, require
from detectors.observe.purpose import BUCKETS, MOST_KINDS, PurposeModel
from detectors.registry import ENTRIES, Ceilings, make_all

LOOKS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""Counts of exchanges at which an account is judged: half a doubling apart, so late is never by much."""

LEVELS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Shares of reference accounts at which scores are tabulated; beyond them an exponential tail is fitted."""

EVER_LEVELS = (0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05)
"""Shares of reference accounts that ever reach the tabulated evidence; beyond, an exponential tail."""

SMALLEST_P = 1e-6
"""No statement is made beyond one account in a million: a reference of thousands cannot support it."""

WEIGHTS = (1.0, 0.5, 0.25)
"""Of the largest surprises, which are added up, largest first. Most attacks show in one to three
statistics; further ones add the noise of accounts that are a little odd in everything."""

FORMAT = 2
_LN_10 = math.log(10.0)
_TWO_SIDES = math.log10(2.0)
_MEDIAN = LEVELS.index(0.5)


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Scores of one detector at one look over the reference accounts.

    `quantiles` are the scores at `LEVELS`; `low_scale` and `high_scale` say over what distance
    below the first and above the last a score becomes e times rarer.
    """

    accounts: int
    quantiles: tuple[float, ...]
    low_scale: float
    high_scale: float


class Tail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Upper tail of a quantity: its values at `LEVELS`, and over what distance it becomes e times rarer."""

    quantiles: tuple[float, ...]
    scale: float


class DetectorTables(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One detector's tables.

    `version` is the detector's; `looks` has its scores, one table per look; `unfamiliar` has how
    surprising ordinary accounts look by `looks` tables that know no account of their kind.
    """

    version: int
    looks: tuple[Table, ...]
    unfamiliar: Tail


class EverTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Evidence that reference accounts ever reach in a window: `evidence` at `EVER_LEVELS`, then a tail."""

    accounts: int
    evidence: tuple[float, ...]
    scale: float


class Shares(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What hardly any ordinary account exceeds; see `registry.Ceilings`."""

    elicitation: tuple[float, ...]
    benchmark: tuple[float, ...]
    probing: tuple[float, ...]
    purpose: tuple[float, ...]


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of reference accounts: what they were made of."""

    name: str
    licence: str
    accounts: int
    exchanges: int


class Provenance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a profile comes from."""

    built: str
    sources: tuple[Source, ...]


class Pools(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tables of ordinary pools: several accounts that share a link, as one stream."""

    detectors: dict[str, DetectorTables]
    ever: EverTable


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The reference population, as numbers. Made by `detectors.fitting.fit`."""

    format: int
    version: str
    looks: tuple[int, ...]
    levels: tuple[float, ...]
    ever_levels: tuple[float, ...]
    ceilings: Shares
    purposes: PurposeModel
    detectors: dict[str, DetectorTables]
    ever: EverTable
    provenance: Provenance
    pools: Pools | None = None

    @staticmethod
    def decode(data: bytes) -> "Profile":
        """The profile in a JSON document.

        Raises
        ------
        ConfigError
            It is no profile, or not one that this release's detectors can be compared with.
        """
        try:
            profile = _decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigError(f"profile cannot be read: {error}") from None
        problems = _problems(profile)
        require(not problems, "profile is not usable: " + "; ".join(problems))
        return profile

    @staticmethod
    def load(path: str | pathlib.Path) -> "Profile":
        """The profile in a file; for start-up, the layer reads nothing else. Raises `ConfigError`."""
        try:
            data = pathlib.Path(path).read_bytes()
        except OSError as error:
            raise ConfigError(f"profile {path} cannot be read: {error.strerror}") from None
        return Profile.decode(data)

    @staticmethod
    def load_default() -> "Profile":
        """The profile that ships with this release."""
        return Profile.decode(resources.files("detectors.profiles").joinpath("default.json").read_bytes())

    def encode(self) -> bytes:
        """JSON document, the same bytes for the same profile."""
        return msgspec.json.format(msgspec.json.encode(self, order="deterministic"), indent=1) + b"\n"

    @property
    def for_detectors(self) -> Ceilings:
        """What detectors are made with."""
        known = self.ceilings
        return Ceilings(known.elicitation, known.benchmark, known.probing, known.purpose, self.purposes.kinds)

    @property
    def of_pools(self) -> "Profile | None":
        """The same profile with pools in place of accounts; None if it knows no pools."""
        if self.pools is None:
            return None
        return msgspec.structs.replace(self, detectors=self.pools.detectors, ever=self.pools.ever, pools=None)

    def surprise(self, detector: str, look: int, score: float) -> tuple[float, float]:
        """How rare a score this low, and one this high, is at a look: -log10 p, both >= 0."""
        return _surprise(self.detectors[detector].looks[look], score)

    def typical(self, detector: str, look: int) -> float:
        """Median score of reference accounts at a look."""
        return self.detectors[detector].looks[look].quantiles[_MEDIAN]

    def share_reaching(self, evidence: float) -> float:
        """Share of ordinary accounts that ever, within a window, reach so much evidence; in (0, 1]."""
        table = self.ever
        if evidence > table.evidence[-1]:
            share = EVER_LEVELS[-1] * math.exp(-(evidence - table.evidence[-1]) / table.scale)
            return max(share, SMALLEST_P)
        at = bisect.bisect_left(table.evidence, evidence)
        if at == 0:
            return 1.0
        low, high = table.evidence[at - 1], table.evidence[at]
        part = (evidence - low) / (high - low)
        return EVER_LEVELS[at - 1] + part * (EVER_LEVELS[at] - EVER_LEVELS[at - 1])


_decoder = msgspec.json.Decoder(Profile)


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """One detector's score at one look, placed among the reference accounts.

    Attributes
    ----------
    spec : Spec
        Of the detector.
    score, typical : float
        The account's score and the reference's median, in the detector's unit.
    surprise : float
        -log10 of the p-value, uncapped, >= 0.
    high : bool
        Which tail: unusually high, or unusually low.
    """

    spec: Spec
    score: float
    typical: float
    surprise: float
    high: bool

    @property
    def weight(self) -> float:
        """What it brings to the evidence."""
        return min(self.surprise, self.spec.cap)

    @property
    def p_value(self) -> float:
        """Share of ordinary accounts, of kinds the reference does not know, with a score as unusual."""
        return max(10.0**-self.surprise, SMALLEST_P)


def read(profile: Profile, look: int, scores: Sequence[float | None]) -> list[Reading]:
    """Readings of the detectors that do not abstain; `scores` in the registry's order, `look` an index."""
    readings = []
    for entry, score in zip(ENTRIES, scores, strict=True):
        if score is not None:
            tables = profile.detectors[entry.spec.id]
            surprise, high = placed(entry.spec, tables.looks[look], score)
            surprise = rarity(tables.unfamiliar, surprise)
            readings.append(Reading(entry.spec, score, tables.looks[look].quantiles[_MEDIAN], surprise, high))
    return readings


def evidence_of(surprises: Sequence[float]) -> float:
    """Weighted sum of the largest surprises, each capped already."""
    return math.fsum(map(operator.mul, WEIGHTS, sorted(surprises, reverse=True)))


def rarity(tail: Tail, value: float) -> float:
    """-log10 of the share of the reference with at least this value."""
    return _tail(tail.quantiles, tail.scale, value)


def placed(spec: Spec, table: Table, score: float) -> tuple[float, bool]:
    """Surprise of a score, over both tails where the detector has two, and whether it is the high one."""
    low, high = _surprise(table, score)
    if spec.low is None:
        return high, True
    # Two chances to be unusual cost a factor of two.
    return max(0.0, max(low, high) - _TWO_SIDES), high >= low


def _surprise(table: Table, score: float) -> tuple[float, float]:
    if not table.accounts:  # all of the reference abstains: nothing to compare with
        return 0.0, 0.0
    quantiles = table.quantiles
    return (
        _tail(tuple(-q for q in reversed(quantiles)), table.low_scale, -score),
        _tail(quantiles, table.high_scale, score),
    )


def _tail(quantiles: Sequence[float], scale: float, score: float) -> float:
    """-log10 of the share of reference accounts with at least this score.

    Of equal quantiles the first counts: where a third of all accounts score 0, reaching 0 is no feat.
    """
    last = quantiles[-1]
    if score > last:
        return (score - last) / (scale * _LN_10) - math.log10(1.0 - LEVELS[-1])
    at = bisect.bisect_left(quantiles, score)
    if at == 0:
        return 0.0
    share = 1.0 - LEVELS[at]
    if score < quantiles[at]:
        part = (score - quantiles[at - 1]) / (quantiles[at] - quantiles[at - 1])
        share = (1.0 - LEVELS[at - 1]) * (1.0 - part) + share * part
    return -math.log10(share)


# -- validation -----------------------------------------------------------------------------------


def _problems(profile: Profile) -> list[str]:
    """Everything that makes a profile unusable, in words."""
    found = []
    if profile.format != FORMAT:
        return [f"format {profile.format}, this release reads {FORMAT}"]
    if not 1 <= len(profile.version) <= 64 or not profile.version.isprintable():
        found.append("`version` must be 1 to 64 printable characters")
    for name, given, wanted in (
        ("looks", profile.looks, LOOKS),
        ("levels", profile.levels, LEVELS),
        ("ever_levels", profile.ever_levels, EVER_LEVELS),
    ):
        if tuple(given) != wanted:
            found.append(f"`{name}` must be {list(wanted)}")
    found += _purpose_problems(profile.purposes, profile.ceilings.purpose)
    found += _ceiling_problems(profile.for_detectors)
    for tables in (profile, profile.pools):
        if tables is not None:
            found += _table_problems(tables.detectors)
            found += _ever_problems(tables.ever)
    return found


def _ever_problems(ever: EverTable) -> list[str]:
    if (
        len(ever.evidence) != len(EVER_LEVELS)
        or not _ascending(ever.evidence)
        or not 0 < ever.scale < math.inf
    ):
        return ["`ever` must have ascending finite evidence, one per level, and a positive scale"]
    return []


def _purpose_problems(model: PurposeModel, limits: Sequence[float]) -> list[str]:
    kinds = len(model.kinds)
    numbers = (*model.bias, *model.scale)
    if (
        kinds > MOST_KINDS
        or {len(model.bias), len(model.scale), len(limits)} != {kinds}
        or len(model.weights) != BUCKETS * kinds
        or not all(map(math.isfinite, numbers))
    ):
        return [f"`purposes` and its limits must be for the same kinds, at most {MOST_KINDS}, and finite"]
    return []


def _ceiling_problems(ceilings: Ceilings) -> list[str]:
    try:
        make_all(ceilings)
    except ConfigError as error:
        return [str(error)]
    return []


def _table_problems(tables: Mapping[str, DetectorTables]) -> list[str]:
    wanted = {entry.spec.id: entry.spec.version for entry in ENTRIES}
    found = [
        f"detector `{name}` is {'missing' if name in wanted else 'unknown'}"
        for name in sorted(set(wanted) ^ set(tables))
    ]
    for name, version in wanted.items():
        given = tables.get(name)
        if given is None:
            continue
        if given.version != version:
            found.append(
                f"detector `{name}` has version {given.version}, this release has {version}: fit again"
            )
        if len(given.looks) != len(LOOKS) or not all(map(_sound, given.looks)):
            found.append(f"detector `{name}` must have one table per look, ascending and finite")
        if not _rising(given.unfamiliar.quantiles, given.unfamiliar.scale):
            found.append(f"detector `{name}` must have `unfamiliar` ascending and finite")
    return found


def _sound(table: Table) -> bool:
    return (
        table.accounts >= 0 and _rising(table.quantiles, table.high_scale) and 0 < table.low_scale < math.inf
    )


def _rising(quantiles: Sequence[float], scale: float) -> bool:
    return len(quantiles) == len(LEVELS) and _ascending(quantiles) and 0 < scale < math.inf


def _ascending(values: Sequence[float]) -> bool:
    return all(map(math.isfinite, values)) and all(a <= b for a, b in itertools.pairwise(values))
