"""One account's detectors: an observation in, an alert or nothing out; state out and in as plain data."""

import hashlib
from collections import Counter
from typing import ClassVar

import msgspec
import xxhash

from detectors import __version__
from detectors.alerts import Alert, Subject
from detectors.base import Detector, Plain
from detectors.calibration import LOOKS, Profile, Reading, evidence_of, read
from detectors.errors import StateError
from detectors.evidence import Trail
from detectors.observation import FLAG_LOGIT_BIAS, FLAG_LOGPROBS, Observation
from detectors.policy import Decisions, DetectionSettings, Finding, Memory, Policy
from detectors.primitives import plain
from detectors.primitives.ring import RecentHashes
from detectors.primitives.said import PromptCells
from detectors.registry import ENTRIES, learn, make_all

__all__ = ["Account", "DetectionSettings", "Engine"]

STATE_VERSION = 2
_REPEATS = 32  # event ids remembered: what a client or a bus sends again comes soon after the first
_REFERENCE_LOOK = LOOKS.index(64)
_UNUSUAL = 0.1
_TELLING = FLAG_LOGPROBS | FLAG_LOGIT_BIAS
_LOOK_AT = {count: look for look, count in enumerate(LOOKS)}
MOST_MS = 1 << 62


class Account:
    """Running state of one account.

    Attributes
    ----------
    id : str
    total, count : int
        Exchanges ever, and in the current window.
    window : int
        Ordinal of the current window, from 0.
    last_ms : int
        Latest place in the event-time order, milliseconds.
    first_time_ms, last_time_ms : int
        Event times of the window's earliest and latest exchange.
    """

    __slots__ = (
        "count",
        "detectors",
        "first_time_ms",
        "id",
        "last_ms",
        "last_time_ms",
        "memory",
        "repeats",
        "said",
        "total",
        "trail",
        "window",
    )

    fields: ClassVar[tuple[str, ...]] = __slots__

    def __init__(self, account_id: str, detectors: tuple[Detector, ...]) -> None:
        self.id = account_id
        self.total = self.count = self.window = 0
        self.last_ms = self.first_time_ms = self.last_time_ms = 0
        self.detectors = detectors
        self.repeats = RecentHashes(_REPEATS)
        self.said = PromptCells()
        self.trail = Trail()
        self.memory = Memory()


class Engine:
    """Applies observations to accounts; the same from live worker to benchmark.

    Its own state is only the count of what it skipped, so one engine serves any number of accounts
    and shards of a process. What `apply` returns depends on the account's observations, in their
    order, on the settings, on the profile and on what people decided, and on nothing else.

    Parameters
    ----------
    settings : DetectionSettings
    profile : Profile
        The reference population.
    decided : Decisions, optional
        What people decided about accounts. It only silences, so it is not part of `config_hash`.
    """

    def __init__(
        self, settings: DetectionSettings, profile: Profile, decided: Decisions | None = None
    ) -> None:
        self._settings = settings
        self._profile = profile
        self._ceilings = profile.for_detectors
        self.version = f"{__version__}+profile.{profile.version}"
        """Of the detectors and the profile, as alerts name it."""
        self.config_hash = _config_hash(settings, profile)
        """Over everything that moves scores or alerts but the allow-list, which only silences."""
        self.skipped: Counter[str] = Counter()
        """Observations that were not applied, by reason."""
        self.reference: Counter[str] = Counter()
        """How well the reference fits: accounts seen at 64 exchanges, and those as unusual as one in ten."""
        self._policy = Policy(settings, self.version, self.config_hash, decided)

    @property
    def silenced(self) -> Counter[str]:
        """Alerts that were not raised because people said so, by what they said."""
        return self._policy.silenced

    def fresh(self, account_id: str) -> Account:
        """An account nothing is known of."""
        return Account(account_id, make_all(self._ceilings))

    def _learning(self, account_id: str) -> Account:
        """An account that has begun to learn."""
        return self.fresh(account_id)

    def apply(self, account: Account, seen: Observation, topic: str) -> Alert | None:
        """Take one exchange of the account, in event-time order.

        Parameters
        ----------
        account : Account
            Changed in place.
        seen : Observation
            The exchange.
        topic : str
            Where it was read; named in the evidence.

        Returns
        -------
        Alert or None
            The alert that this exchange raises.
        """
        order_ms = seen.order_ms
        if account.total and order_ms - account.last_ms > self._settings.account_ttl_ms:
            self._forget(account)
        if not self._admit(account, seen):
            return None
        digest = xxhash.xxh3_64_digest(seen.event_id.encode("utf-8", "surrogatepass"))
        if digest in account.repeats:
            self.skipped["duplicate_event"] += 1
            return None
        account.repeats.add(digest)
        if order_ms > account.last_ms or not account.total:
            account.last_ms = order_ms
        time_ms = seen.time_ms
        if not account.count:
            account.first_time_ms = account.last_time_ms = time_ms
        elif time_ms > account.last_time_ms:
            account.last_time_ms = time_ms
        elif time_ms < account.first_time_ms:
            account.first_time_ms = time_ms
        account.total += 1
        account.count = count = account.count + 1
        telling = bool(seen.marks or seen.flags & _TELLING)
        account.trail.add(seen.event_id, telling, topic, seen.partition, seen.offset)
        learn(account.detectors, seen, account.said)
        look = _LOOK_AT.get(count)
        alert = None if look is None else self._look(account, look, seen)
        if count >= self._settings.window_events:
            self._next_window(account)
        return alert

    def assess(self, account: Account, look: int) -> tuple[float, list[Reading]]:
        """Share of ordinary accounts that ever get as far as this one is, and its detectors' readings.

        Parameters
        ----------
        account : Account
            With as many exchanges in its window as `LOOKS[look]`.
        look : int
        """
        readings = read(self._profile, look, [detector.score_one() for detector in account.detectors])
        return self._profile.share_reaching(evidence_of([reading.weight for reading in readings])), readings

    def _look(self, account: Account, look: int, seen: Observation) -> Alert | None:
        share, readings = self.assess(account, look)
        if look == _REFERENCE_LOOK:
            self.reference["accounts"] += 1
            self.reference["unusual"] += share <= _UNUSUAL
        if share > self._settings.budget:
            return None
        by_id = {detector.spec.id: detector for detector in account.detectors}

        def explain(reading: Reading) -> str:
            return by_id[reading.spec.id].explain(reading.score, reading.typical)

        subject, grown = self._subject(account)
        finding = Finding(
            subject=subject,
            grown=grown,
            seen=seen,
            share=share,
            readings=readings,
            explain=explain,
            events=account.count,
            window=account.window,
            first_ms=account.first_time_ms,
            last_ms=account.last_time_ms,
            trail=account.trail,
        )
        alert = self._policy.decide(finding, account.memory)
        if alert is not None:
            self._raised(account)
        return alert

    def subject_id(self, seen: Observation) -> str:
        """Whose state an exchange goes to."""
        return seen.account

    def _admit(self, account: Account, seen: Observation) -> bool:
        """Whether the exchange is to be applied at all."""
        return True

    def _subject(self, account: Account) -> tuple[Subject, bool]:
        """Whom a finding is about, and whether there is more to say of it than at the last alert."""
        return Subject("account", account.id), False

    def _raised(self, account: Account) -> None:
        """Note that an alert was raised."""

    def _next_window(self, account: Account) -> None:
        account.window += 1
        account.count = 0
        account.detectors = make_all(self._ceilings)
        account.said = PromptCells()
        account.trail = Trail()

    def _forget(self, account: Account) -> None:
        """Exactly what dropping the account's saved state would do."""
        new = self.fresh(account.id)
        for name in account.fields:
            setattr(account, name, getattr(new, name))

    def snapshot(self, account: Account) -> Plain:
        """State of an account as plain values, at most 4 KiB in msgpack."""
        return [
            STATE_VERSION,
            account.total,
            account.count,
            account.window,
            account.last_ms,
            account.first_time_ms,
            account.last_time_ms,
            account.repeats.snapshot(),
            account.said.snapshot(),
            account.trail.snapshot(),
            account.memory.snapshot(),
            [[one.spec.id, one.spec.version, one.snapshot()] for one in account.detectors],
        ]

    def restore(self, account_id: str, plain_state: Plain) -> Account:
        """An account as it was when the snapshot was taken.

        Raises
        ------
        StateError
            The state is of another version, or damaged. Nothing is restored in part.
        """
        if not isinstance(plain_state, list | tuple) or not plain_state:
            raise StateError("account state must be a list that begins with its version")
        if plain_state[0] != STATE_VERSION or type(plain_state[0]) is not int:
            raise StateError(
                f"account state has version {plain_state[0]!r:.20}, this release reads {STATE_VERSION}: "
                "the account starts afresh"
            )
        account = self._learning(account_id)
        _, total, count, window, last, first_time, last_time, repeats, said, trail, memory, detectors = (
            plain.fields(plain_state, 12, "account")
        )
        account.total = plain.integer(total, 0, plain.MOST_EVENTS, "account.total")
        account.count = plain.integer(count, 0, min(account.total, LOOKS[-1]), "account.count")
        account.window = plain.integer(window, 0, plain.MOST_EVENTS, "account.window")
        account.last_ms = plain.integer(last, -MOST_MS, MOST_MS, "account.last_ms")
        account.first_time_ms = plain.integer(first_time, -MOST_MS, MOST_MS, "account.first_time_ms")
        account.last_time_ms = plain.integer(
            last_time, account.first_time_ms, MOST_MS, "account.last_time_ms"
        )
        account.repeats.restore(repeats)
        account.said.restore(said)
        account.trail.restore(trail)
        account.memory.restore(memory)
        saved = plain.fields(detectors, len(account.detectors), "account.detectors")
        for detector, one in zip(account.detectors, saved, strict=True):
            name, version, state = plain.fields(one, 3, "account.detectors")
            if name != detector.spec.id or version != detector.spec.version:
                raise StateError(
                    f"account state has {name!r:.40} version {version!r:.20} where this release has "
                    f"{detector.spec.id!r} version {detector.spec.version}: the account starts afresh"
                )
            detector.restore(state)
        return account


def _config_hash(settings: DetectionSettings, profile: Profile) -> str:
    parts = [
        settings.budget,
        settings.paging,
        settings.window_events,
        settings.quiet_period_ms,
        settings.account_ttl_ms,
        settings.key_fingerprint,
        profile.encode(),
        [[entry.spec.id, entry.spec.version] for entry in ENTRIES],
        __version__,
    ]
    return hashlib.blake2b(msgspec.msgpack.encode(parts), digest_size=8).hexdigest()
