"""Turns settings into the parts that live worker, replay, evaluation and benchmark have in common."""

import dataclasses
import hashlib

from detectors.calibration import Profile
from detectors.engine import DetectionSettings, Engine
from detectors.observe import Observer
from detectors.policy import Decisions
from detectors.pools import PoolEngine
from streams.codecs import EventLimits
from streams.intake import Intake
from streams.settings import Settings
from streams.shard import Limits


def build_engine(settings: Settings, key: bytes, decided: Decisions | None = None) -> Engine:
    """The detection engine that `settings` describe, and what people decided about accounts."""
    return Engine(_detection(settings, key), load_profile(settings), decided)


def build_pool_engine(settings: Settings, key: bytes, decided: Decisions | None = None) -> PoolEngine | None:
    """The engine for accounts that share a link; None where no link is to be looked at."""
    if not settings.campaigns.links:
        return None
    return PoolEngine(_detection(settings, key), load_profile(settings), decided)


def _detection(settings: Settings, key: bytes) -> DetectionSettings:
    detection = settings.detection
    return DetectionSettings(
        budget=detection.budget,
        page_budget=detection.page_budget,
        window_events=detection.window_events,
        quiet_period_ms=int(detection.quiet_period_h * 3_600_000),
        account_ttl_ms=int(detection.account_ttl_days * 86_400_000),
        allow=frozenset(detection.allow),
        key_fingerprint=key_fingerprint(key),
    )


def build_intake(settings: Settings, key: bytes) -> Intake:
    """The intake that `settings` describe, with hashes keyed by `key`."""
    return Intake(
        Observer(key, text_chars=settings.ingest.text_chars, purposes=load_profile(settings).purposes),
        EventLimits(max_bytes=settings.ingest.max_event_bytes, max_messages=settings.ingest.max_messages),
        lateness_ms=settings.ordering.lateness_ms,
        earliest_ms=int(settings.events.earliest.timestamp() * 1000),
        skew_ms=int(settings.events.clock_skew_s * 1000),
    )


def load_profile(settings: Settings) -> Profile:
    """The reference population that `settings` name, or the one that ships."""
    path = settings.detection.profile
    return Profile.load(path) if path else Profile.load_default()


def build_limits(settings: Settings) -> Limits:
    """Bounds of one shard."""
    return Limits(
        max_accounts=settings.state.max_accounts,
        max_state_bytes=settings.state.max_state_bytes,
        max_buffered_rows=settings.ordering.buffer_rows,
        ttl_ms=int(settings.detection.account_ttl_days * 86_400_000),
        idle_ms=settings.ordering.idle_ms,
        silent_s=settings.ordering.silent_s,
    )


def build_pool_limits(settings: Settings) -> Limits:
    """Bounds of one shard of pools. Few stay live: most have one member, and nothing to learn."""
    return dataclasses.replace(
        build_limits(settings),
        max_accounts=settings.campaigns.max_pools,
        max_state_bytes=settings.campaigns.max_state_bytes,
    )


def key_fingerprint(key: bytes) -> str:
    """Names a secret without giving it away: alerts made with different keys do not compare."""
    return hashlib.blake2b(
        b"extraction-detector", key=key[:64], person=b"fingerprint", digest_size=6
    ).hexdigest()
