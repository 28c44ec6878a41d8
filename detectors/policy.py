"""Findings become alerts, or not: kind, severity, quiet period, allow-list, wording, id."""

import dataclasses
import datetime as dt
import hashlib
import math
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from detectors.alerts import Alert, Evidence, Signal, Subject
from detectors.calibration import LOOKS, SMALLEST_P, WEIGHTS, Reading
from detectors.errors import ConfigError, StateError
from detectors.evidence import Trail
from detectors.observation import Observation
from detectors.primitives import plain

KINDS = (
    "coverage_seeking",
    "high_entropy",
    "templated_harvest",
    "capability_elicitation",
    "benchmark_sweep",
    "parameter_probing",
)
CAMPAIGN = "coordinated_campaign"
SEVERITIES = ("low", "medium", "high", "critical")

# What an account does says more than how unusual its text is, so these name the kind of an alert
# already when they carry half of what the strongest signal carries.
_PURPOSE = frozenset({"capability_elicitation", "benchmark_sweep", "parameter_probing"})

# One account's statistics are evidence, not proof, so nothing here recommends to suspend it.
_ACTIONS = ("observe", "review", "rate_limit", "step_up_verification")

_EXTRACTION = "AML.T0024.002"  # Extract AI Model
# Reading out probabilities serves extraction, inversion and membership inference alike, and the
# parameters alone do not tell which: the parent technique, Exfiltration via AI Inference API.
_PROBING = "AML.T0024"

_FEW, _SOME = 16, 64  # exchanges below which severity is held at medium, at high
_memory = struct.Struct("<BqBd")
_LATEST_MS = 253_402_300_799_999  # last instant of the year 9999


@dataclasses.dataclass(frozen=True, slots=True)
class DetectionSettings:
    """What an operator may decide about detection.

    Parameters
    ----------
    budget : float
        Share of ordinary accounts that may be flagged within a window. In [1e-6, 0.5].
    page_budget : float or None
        Share of ordinary accounts that may raise an alert of high or critical severity. At most `budget`,
        at least 1e-6; None takes a hundredth of it.
    window_events : int
        Exchanges after which an account's statistics start afresh, so that an old account's history
        does not hide a new campaign. In [8, 1024]: the reference goes no further.
    quiet_period_ms : int
        After an alert the same subject stays quiet for so long, unless it gets worse or another kind
        of finding appears. Milliseconds of event time, >= 0.
    account_ttl_ms : int
        An account silent for longer starts afresh. Milliseconds of event time, > 0.
    allow : frozenset of str
        Accounts that are never alerted on.
    key_fingerprint : str
        Names the secret that hashes are keyed with; alerts under different secrets do not compare.

    Raises
    ------
    ConfigError
        Something is out of range; the message names all of it.
    """

    budget: float = 0.001
    page_budget: float | None = None
    window_events: int = LOOKS[-1]
    quiet_period_ms: int = 24 * 3_600_000
    account_ttl_ms: int = 30 * 86_400_000
    allow: frozenset[str] = frozenset()
    key_fingerprint: str = ""

    def __post_init__(self) -> None:
        problems = [
            f"detection.{name} = {getattr(self, name)!r} must be {wanted}"
            for name, holds, wanted in (
                ("budget", SMALLEST_P <= self.budget <= 0.5, f"in [{SMALLEST_P:g}, 0.5]"),
                (
                    "page_budget",
                    self.page_budget is None or SMALLEST_P <= self.page_budget <= self.budget,
                    f"in [{SMALLEST_P:g}, budget]",
                ),
                (
                    "window_events",
                    LOOKS[0] <= self.window_events <= LOOKS[-1],
                    f"in [{LOOKS[0]}, {LOOKS[-1]}]",
                ),
                ("quiet_period_ms", self.quiet_period_ms >= 0, ">= 0"),
                ("account_ttl_ms", self.account_ttl_ms > 0, "> 0"),
            )
            if not holds
        ]
        if problems:
            raise ConfigError("; ".join(problems))

    @property
    def paging(self) -> float:
        """Share of ordinary accounts that may page somebody."""
        return self.budget / 100.0 if self.page_budget is None else self.page_budget


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What one look at an account gave.

    Attributes
    ----------
    subject : Subject
    grown : bool
        Whether the subject has become so much larger that the quiet period does not hold.
    seen : Observation
        The exchange that brought the account to this look.
    share : float
        Share of ordinary accounts that ever get so far, in (0, 1].
    readings : sequence of Reading
        Of the detectors that did not abstain.
    explain : callable
        Reading -> one plain sentence.
    events : int
        Exchanges in the window.
    window : int
        Ordinal of the window.
    first_ms, last_ms : int
        Event times of the window's earliest and latest exchange.
    trail : Trail
    """

    subject: Subject
    grown: bool
    seen: Observation
    share: float
    readings: Sequence[Reading]
    explain: Callable[[Reading], str]
    events: int
    window: int
    first_ms: int
    last_ms: int
    trail: Trail


class Memory:
    """Alerts already raised on one account, the last of each kind.

    Kept packed, 18 bytes each: it is read only where an alert is due.
    """

    __slots__ = ("_packed",)

    def __init__(self) -> None:
        self._packed = b""

    def _alerts(self) -> dict[int, tuple[int, int, float]]:
        """Kind -> time, severity, score."""
        return {
            kind: (at_ms, severity, score)
            for kind, at_ms, severity, score in _memory.iter_unpack(self._packed)
        }

    def quiet(self, kind: str, severity: str, at_ms: int, period_ms: int) -> bool:
        """Whether an alert of this kind and severity would only repeat one of the quiet period."""
        before = self._alerts().get(KINDS.index(kind))
        return (
            before is not None and at_ms - before[0] < period_ms and SEVERITIES.index(severity) <= before[1]
        )

    def remember(self, kind: str, severity: str, at_ms: int, score: float) -> None:
        """Note an alert."""
        alerts = self._alerts()
        alerts[KINDS.index(kind)] = (at_ms, SEVERITIES.index(severity), score)
        self._packed = b"".join(_memory.pack(one, *alert) for one, alert in sorted(alerts.items()))

    def snapshot(self) -> bytes:
        """Packed: kind, time, severity, score."""
        return self._packed

    def restore(self, state: Any) -> None:
        """Replace the state by a snapshot's; raises `StateError`."""
        packed = plain.raw(state, _memory.size * len(KINDS), "alert memory", multiple_of=_memory.size)
        last = -1
        for kind, _, severity, score in _memory.iter_unpack(packed):
            if not last < kind < len(KINDS) or severity >= len(SEVERITIES) or not 0 <= score <= 1:
                raise StateError("alert memory: saved alert is not possible")
            last = kind
        self._packed = packed


class Decisions(Protocol):
    """What people decided about accounts; see `detectors.control.Register`."""

    def silences(self, account_id: str, alert_kind: str, at_ms: int) -> str | None:
        """What forbids an alert of this kind at this time; None if nothing does."""
        ...


class Policy:
    """Decides on findings.

    Parameters
    ----------
    settings : DetectionSettings
    version : str
        Of the detector, named on alerts.
    config_hash : str
        Named on alerts and part of their ids.
    decided : Decisions or None
        What people decided about accounts.

    Attributes
    ----------
    silenced : Counter of str
        Alerts that were not raised because people said so, by what they said.
    """

    def __init__(
        self, settings: DetectionSettings, version: str, config_hash: str, decided: "Decisions | None" = None
    ) -> None:
        self._settings = settings
        self._version = version
        self._config_hash = config_hash
        self._decided = decided
        self.silenced: Counter[str] = Counter()

    def decide(self, finding: Finding, memory: Memory) -> Alert | None:
        """The alert that a finding deserves, noted in `memory`; None if it deserves none."""
        settings = self._settings
        if finding.share > settings.budget:
            return None
        kind = kind_of(finding.readings)
        if kind is None:
            return None
        severity = severity_of(finding.share, settings.budget, settings.paging, finding.events)
        at_ms = finding.seen.order_ms
        if not finding.grown and memory.quiet(kind, severity, at_ms, settings.quiet_period_ms):
            return None
        # Not remembered: an account that goes on when the decision has expired must be heard of.
        if finding.subject.id in settings.allow:
            self.silenced["allow"] += 1
            return None
        said = self._decided and self._decided.silences(finding.subject.id, kind, at_ms)
        if said:
            self.silenced[said] += 1
            return None
        score = round(1.0 - finding.share, 9)
        memory.remember(kind, severity, at_ms, score)
        return self._alert(finding, kind, severity, score)

    def _alert(self, finding: Finding, kind: str, severity: str, score: float) -> Alert:
        seen = finding.seen
        named = kind if finding.subject.type == "account" else CAMPAIGN
        return Alert(
            alert_id=self._id(finding, kind),
            time=rfc3339(seen.time_ms),
            subject=finding.subject,
            kind=named,
            severity=severity,
            score=score,
            signals=_signals(finding),
            evidence=Evidence(
                event_count=finding.events,
                first_time=rfc3339(finding.first_ms),
                last_time=rfc3339(finding.last_ms),
                event_ids=finding.trail.event_ids(seen.event_id),
                positions=finding.trail.positions(),
            ),
            recommended_action=_ACTIONS[SEVERITIES.index(severity)],
            technique=_PROBING if kind == "parameter_probing" else _EXTRACTION,
            detector_version=self._version,
            config_hash=self._config_hash,
        )

    def _id(self, finding: Finding, kind: str) -> str:
        parts = (
            "extraction.alert/1",
            self._config_hash,
            finding.subject.type,
            finding.subject.id,
            kind,
            finding.seen.event_id,
            f"{finding.window}:{finding.events}",
        )
        digest = hashlib.blake2b(digest_size=16)
        for part in parts:
            data = part.encode("utf-8", "surrogatepass")
            digest.update(
                len(data).to_bytes(4, "little") + data
            )  # lengths, so that parts cannot run together
        return digest.hexdigest()


def kind_of(readings: Sequence[Reading]) -> str | None:
    """Kind of the strongest signal that may stand alone; None if no such signal is unusual at all."""
    able = [one for one in readings if not one.spec.supporting and one.weight > 0]
    if not able:
        return None
    strongest = max(able, key=_strength)
    purpose = [one for one in able if one.spec.high in _PURPOSE and one.weight >= strongest.weight / 2]
    named = max(purpose, key=_strength) if purpose else strongest
    return named.spec.high if named.high or named.spec.low is None else named.spec.low


def severity_of(share: float, budget: float, paging: float, events: int) -> str:
    """High within the budget for pages, critical within a tenth of it, medium half-way in powers of ten.

    Held back while little has been spent or seen.
    """
    step = sum(share <= limit for limit in (math.sqrt(budget * paging), paging, paging / 10.0))
    if events < _FEW:
        step = min(step, 1)
    elif events < _SOME:
        step = min(step, 2)
    return SEVERITIES[step]


def rfc3339(time_ms: int) -> str:
    """RFC 3339 in UTC with milliseconds."""
    seconds, ms = divmod(min(max(time_ms, 0), _LATEST_MS), 1000)
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%dT%H:%M:%S}.{ms:03d}Z"


def _strength(reading: Reading) -> tuple[float, float, str]:
    return reading.weight, reading.surprise, reading.spec.id


def _signals(finding: Finding) -> list[Signal]:
    """The signals that made up the evidence, strongest first; their contributions add up to 1."""
    driving = sorted((one for one in finding.readings if one.weight > 0), key=_strength, reverse=True)
    parts = [weight * one.weight for weight, one in zip(WEIGHTS, driving, strict=False)]
    total = sum(parts)
    return [
        Signal(
            name=one.spec.id,
            value=_short(one.score),
            typical=_short(one.typical),
            p_value=_short(one.p_value),
            contribution=round(part / total, 6),
            explanation=f"{finding.explain(one)} {_how_unusual(one)}",
        )
        for part, one in zip(parts, driving, strict=False)
    ]


def _how_unusual(reading: Reading) -> str:
    p_value = reading.p_value
    if p_value <= SMALLEST_P:
        return "Fewer than one ordinary account in 1,000,000 is as unusual in this."
    return f"One ordinary account in {_two_digits(1.0 / p_value):,} is as unusual in this."


def _two_digits(value: float) -> int:
    return int(float(f"{value:.2g}"))


def _short(value: float) -> float:
    """Six significant digits: readable, and the same wherever it was computed."""
    return float(f"{value:.6g}")
