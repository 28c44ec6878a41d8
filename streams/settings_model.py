"""What can be configured: sections, keys, units, bounds, defaults; and what must hold between values.

The objects read nothing but their arguments; `settings.load_settings` reads files and environment.
"""

import datetime as dt
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from streams import kafka_properties
from streams.errors import Problem, SettingsError
from streams.kafka_properties import PropertyError
from streams.logs import KAFKA_CLIENT

_log = logging.getLogger(__name__)

ENV_PREFIX = "EXTRACTION_"
MIN_KEY_BYTES = 16
_DEVELOPMENT_KEY = b"extraction-detector: for development only, known to everybody"

_EARLIEST = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)

Link = Literal["payment", "device", "organisation", "network", "address", "client", "system", "opening"]
TopicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]


def _comma_separated(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _no_bool_for_number(cls: type[BaseModel], value: object, info: ValidationInfo) -> object:
    # Pydantic would read `linger_ms = true` as 1.
    if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation in (int, float):
        raise PydanticCustomError("not_a_number", "must be a number, not true or false")
    return value


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False, validate_default=True
    )

    _numbers = field_validator("*", mode="before")(_no_bool_for_number)


class KafkaSettings(_Section):
    """How to reach the cluster."""

    bootstrap_servers: str = "localhost:9092"
    """Brokers to ask first, `host:port`, several separated by commas."""

    properties: dict[str, str | SecretStr] = Field(default_factory=dict)
    """Client properties in librdkafka's names, for instance `security.protocol`; both stages use them."""

    allow_plaintext_sasl: bool = False
    """Permit `sasl_plaintext`, which sends the password, or what it can be guessed from, in clear."""

    @field_validator("bootstrap_servers")
    @classmethod
    def _check_servers(cls, value: str) -> str:
        servers = [server.strip() for server in value.split(",")]
        for server in servers:
            host, colon, port = server.rpartition(":")
            if "://" in server:
                raise PydanticCustomError(
                    "servers",
                    "{server} has a scheme; give host:port and set kafka.properties.security.protocol",
                    {"server": repr(server)},
                )
            if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
                raise PydanticCustomError("servers", "{server} is not host:port", {"server": repr(server)})
        return ",".join(servers)

    @field_validator("properties", mode="before")
    @classmethod
    def _normalise(cls, value: object) -> object:
        try:
            return kafka_properties.normalise(value)
        except PropertyError as error:
            raise PydanticCustomError(
                "kafka_property", "{text}", {"text": str(error), "name": error.name, "fix": error.fix}
            ) from None

    def client(self) -> dict[str, Any]:
        """Settings of a confluent-kafka client that reach the cluster, secrets revealed; it logs as we do."""
        return {
            "bootstrap.servers": self.bootstrap_servers,
            "logger": logging.getLogger(KAFKA_CLIENT),
            **kafka_properties.plain(self.properties),
        }

    @property
    def faust_broker_url(self) -> str:
        """The servers as Faust wants them."""
        return ";".join(f"kafka://{server}" for server in self.bootstrap_servers.split(","))

    def faust_credentials(self) -> Any:
        """The security properties as Faust wants them; None for plaintext."""
        return kafka_properties.faust_credentials(self.properties)


class TopicSettings(_Section):
    """Names and sizes of topics."""

    requests: TopicName = "llm.requests"
    """The request bus: where request events already flow."""

    observations: TopicName = "extraction.observations"
    """Internal: what ingest hands to detect."""

    sightings: TopicName = "extraction.sightings"
    """Internal: links between accounts."""

    state: TopicName = "extraction.state"
    """Internal, compacted: state per account."""

    pools: TopicName = "extraction.pools"
    """Internal, compacted: state per group of accounts; used where `campaigns.links` is set."""

    alerts: TopicName = "extraction.alerts"
    """Alerts, for people and other systems."""

    control: TopicName = "extraction.control"
    """Compacted: labels, allowances, suppressions and bans, as people decide them."""

    deadletter: TopicName = "extraction.deadletter"
    """Records that are not request events, byte for byte, with the reason in headers."""

    partitions: int = Field(default=8, ge=1, le=1024)
    """Partitions of observations and state, the unit of scaling: at most so many detect workers share the
    accounts. Cannot be changed later without starting the state afresh."""

    replication_factor: int = Field(default=-1, ge=-1, le=32)
    """Copies of each topic that `topics create` makes; -1 takes the cluster's default, which is 1 on a single
    broker. In production have 3."""

    format: Literal["auto", "extraction"] = "auto"
    """Format of the request events; `auto` recognises it record by record."""

    @field_validator("replication_factor")
    @classmethod
    def _not_zero(cls, value: int) -> int:
        if value == 0:
            raise PydanticCustomError("replication", "must be -1 (the cluster's default) or at least 1")
        return value


class IngestSettings(_Section):
    """The stage that turns request events into observations."""

    max_event_bytes: int = Field(default=16_777_216, ge=1024, le=1_000_000_000)
    """Larger records are refused. Bytes."""

    text_chars: int = Field(default=8192, ge=256, le=1_000_000)
    """Text of an event that is read; the rest is only counted. Characters."""

    max_messages: int = Field(default=10_000, ge=1, le=1_000_000)
    """Events with more messages are refused. Count."""

    linger_ms: int = Field(default=50, ge=1, le=10_000)
    """How long observations are collected before they are sent: longer costs latency and saves work.
    Milliseconds."""

    rows_per_message: int = Field(default=200, ge=1, le=2000)
    """Most observations in one Kafka message. Count."""

    fetch: int = Field(default=500, ge=1, le=100_000)
    """Most records taken from the bus at a time. Count."""

    dead_letter_share: float = Field(default=0.9, gt=0, le=1)
    """The worker stops when so many of the last `dead_letter_window` records are not request events, instead
    of draining the bus into the dead letters. Share."""

    dead_letter_window: int = Field(default=200, ge=10, le=1_000_000)
    """Records the breaker looks back on. Count."""


class OrderingSettings(_Section):
    """How events of several bus partitions are put into one order."""

    lateness_ms: int = Field(default=200, ge=0, le=86_400_000)
    """How far behind the newest event of its partition an event may be and still be put in its place.
    Milliseconds."""

    idle_ms: int = Field(default=1000, ge=10, le=3_600_000)
    """A bus partition without new records for so long is not waited for. Milliseconds."""

    silent_s: float = Field(default=60.0, ge=1, le=86_400)
    """A bus partition of which nothing is heard for so long, because its reader is gone, is not waited for.
    Seconds."""

    buffer_rows: int = Field(default=200_000, ge=1000, le=100_000_000)
    """Observations that may wait for a slower partition, per detect partition. Count."""


class EventSettings(_Section):
    """What times are believed."""

    earliest: AwareDatetime = _EARLIEST
    """Events from before this time are refused. RFC 3339, with a time zone."""

    clock_skew_s: float = Field(default=3600.0, ge=0, le=30 * 86_400)
    """Events further in the future than this, compared with when they were appended, are refused. Seconds."""


class DetectionSettings(_Section):
    """What counts as extraction."""

    budget: float = Field(default=0.001, gt=0, le=0.5)
    """Share of ordinary accounts that may ever be flagged; lower is stricter. Share."""

    page_budget: float | None = Field(default=None, ge=1e-6, le=0.5)
    """Share of ordinary accounts that may ever raise an alert of high or critical severity, which is what
    should page somebody. At most the budget; by default a hundredth of it. Share."""

    window_events: int = Field(default=1024, ge=8, le=1024)
    """Exchanges after which an account's statistics start afresh; the reference goes no further. Count."""

    quiet_period_h: float = Field(default=24.0, ge=0, le=24 * 365)
    """After an alert, the same subject is quiet for so long unless it gets worse. Hours of event time."""

    account_ttl_days: float = Field(default=30.0, gt=0, le=3650)
    """Accounts without events for so long are forgotten. Days of event time."""

    allow: Annotated[tuple[str, ...], BeforeValidator(_comma_separated)] = ()
    """Account ids that are never alerted on."""

    profile: Path | None = None
    """File with the reference population to compare accounts with; without it the one that ships is used."""

    @field_validator("profile")
    @classmethod
    def _check_profile(cls, value: Path | None) -> Path | None:
        if value is not None and not os.path.isfile(value):  # Path.is_file raises for odd names
            raise PydanticCustomError("no_file", "{path} is not a file", {"path": str(value)})
        return value


class CampaignSettings(_Section):
    """Accounts that act as one."""

    links: Annotated[tuple[Link, ...], BeforeValidator(_comma_separated)] = ()
    """What may tie accounts together; exchanges are also counted for every account group that shares one.
    See docs/campaigns.md for what it costs. Empty: groups are not looked for."""

    max_pools: int = Field(default=200_000, ge=100, le=100_000_000)
    """Groups kept per partition; beyond it those silent longest are dropped. Count."""

    max_state_bytes: int = Field(default=65_536, ge=32_768, le=1_000_000)
    """Largest saved state of one group, its members' ids among it. Bytes."""


class StateSettings(_Section):
    """What is remembered of accounts."""

    flush_ms: int = Field(default=1000, ge=10, le=600_000)
    """How often state is saved: what a killed worker has to repeat. Milliseconds."""

    max_accounts: int = Field(default=200_000, ge=100, le=100_000_000)
    """Accounts kept per partition; beyond it those silent longest are dropped. Count."""

    max_state_bytes: int = Field(default=4096, ge=512, le=1_000_000)
    """Largest saved state of one account. Bytes."""


class MetricsSettings(_Section):
    """The page with metrics and health."""

    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen on. In a container set 0.0.0.0, or nobody outside reaches it."""

    port: int = Field(default=9464, ge=0, le=65535)
    """Port to listen on; 0 takes any free one and logs it."""


class HealthSettings(_Section):
    """When a worker counts as stuck."""

    stall_s: float = Field(default=60.0, ge=1, le=86_400)
    """`/healthz` fails when a part of the worker with work to do made no progress for so long. Seconds."""


class Settings(BaseSettings):
    """The whole configuration, frozen."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        validate_default=True,
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        enable_decoding=False,
    )

    app_id: str = Field(default="extraction-detector", pattern=r"^[A-Za-z0-9._-]{1,150}$")
    """Names the deployment: consumer groups `<app_id>-ingest` and `<app_id>-detect`, transactional ids
    `<app_id>-state-<partition>`."""

    session_timeout_s: float = Field(default=10.0, ge=1, le=1800)
    """A worker not heard of for so long loses its partitions to the others. Brokers accept 6 to 1800 unless
    configured otherwise. Seconds."""

    heartbeat_s: float = Field(default=3.0, ge=0.1, le=600)
    """How often a worker says that it is there; at most a third of `session_timeout_s`. Seconds."""

    hash_key: SecretStr | None = None
    """Secret that keys every hash, at least 16 bytes; all workers of a deployment share it, and changing it
    starts state afresh. Without one `worker` does not start."""

    hash_key_file: Path | None = None
    """File that holds `hash_key`, for secrets mounted as files."""

    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    ingest: IngestSettings = IngestSettings()
    ordering: OrderingSettings = OrderingSettings()
    events: EventSettings = EventSettings()
    detection: DetectionSettings = DetectionSettings()
    campaigns: CampaignSettings = CampaignSettings()
    state: StateSettings = StateSettings()
    metrics: MetricsSettings = MetricsSettings()
    health: HealthSettings = HealthSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing is read behind the caller's back; `load_settings` merges the sources."""
        return (init_settings,)

    _numbers = field_validator("*", mode="before")(_no_bool_for_number)

    @field_validator("hash_key")
    @classmethod
    def _check_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value().encode()) < MIN_KEY_BYTES:
            raise PydanticCustomError("short_key", f"is shorter than {MIN_KEY_BYTES} bytes")
        return value

    @model_validator(mode="after")
    def _check_together(self) -> "Settings":
        found = list(contradictions(self))
        if found:
            raise PydanticCustomError(
                "contradictions", "{text}", {"text": "; ".join(str(p) for _, p in found), "found": found}
            )
        return self

    def secret_key(self, *, development: bool = False) -> bytes:
        """The key of all hashes.

        Parameters
        ----------
        development : bool
            Use a key that everybody knows where none is set, with a warning. For demo, simulate and
            replay; the hashes then differ from those of the live system.

        Raises
        ------
        SettingsError
            No key is set, and this is not development.
        """
        if self.hash_key is not None:
            return self.hash_key.get_secret_value().encode()
        if not development:
            raise SettingsError(
                [
                    Problem(
                        "hash_key",
                        "is not set, and without a secret of its own the hashes of this deployment could be "
                        "computed by anybody",
                        f"Set {ENV_PREFIX}HASH_KEY, or {ENV_PREFIX}HASH_KEY_FILE to a file that holds it; "
                        "`openssl rand -base64 32` makes one",
                    )
                ]
            )
        _log.warning(
            "hash_key is not set: using a development key that everybody knows; hashes, and ids made from "
            "them, will not match those of a live deployment"
        )
        return _DEVELOPMENT_KEY

    def effective(self, *, hide_secrets: bool = True) -> dict[str, Any]:
        """Every value as plain data, in the order of the model; absent optional ones are left out."""
        return cast("dict[str, Any]", _plain(self, hide_secrets))

    def describe(self, *, hide_secrets: bool = True) -> str:
        """The effective configuration as TOML.

        With `hide_secrets` secrets become comments, so that the text can be shown and loads again.
        """
        from streams.toml import write_toml

        return write_toml(self.effective(hide_secrets=hide_secrets), hidden=HIDDEN)


HIDDEN = "(set, hidden)"


def _plain(value: object, hide: bool) -> object:
    if isinstance(value, SecretStr):
        return HIDDEN if hide else value.get_secret_value()
    if isinstance(value, BaseModel):
        fields = ((name, getattr(value, name)) for name in type(value).model_fields)
        return {name: _plain(item, hide) for name, item in fields if item is not None}
    if isinstance(value, Mapping):
        return {name: _plain(item, hide) for name, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item, hide) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value


def is_section(annotation: object) -> bool:
    """Whether a field of `Settings` with this annotation is a section."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def contradictions(settings: Settings) -> Iterator[tuple[tuple[str, ...], Problem]]:
    """What is wrong between values, each with the keys it comes from."""
    if settings.heartbeat_s * 3 > settings.session_timeout_s:
        yield (
            ("heartbeat_s", "session_timeout_s"),
            Problem(
                "heartbeat_s",
                f"{settings.heartbeat_s:g} is more than a third of session_timeout_s = "
                f"{settings.session_timeout_s:g}: two lost heartbeats would cost the partitions",
                f"Set it to at most {settings.session_timeout_s / 3:.3g}",
            ),
        )
    detection = settings.detection
    if detection.page_budget is not None and detection.page_budget > detection.budget:
        yield (
            ("detection.page_budget", "detection.budget"),
            Problem(
                "detection.page_budget",
                f"{detection.page_budget:g} is more than detection.budget = {detection.budget:g}",
                "Set it to at most the budget",
            ),
        )
    seen: dict[str, str] = {}
    for name in TopicSettings.model_fields:
        topic = getattr(settings.topics, name)
        if name in ("partitions", "replication_factor", "format"):
            continue
        if topic in (".", ".."):
            yield (f"topics.{name}",), Problem(f"topics.{name}", f"{topic!r} is no topic name")
        elif topic in seen:
            yield (
                (f"topics.{name}", f"topics.{seen[topic]}"),
                Problem(
                    f"topics.{name}", f"{topic!r} is also topics.{seen[topic]}", "Give each its own topic"
                ),
            )
        seen[topic] = name
    for problem in kafka_properties.check(
        settings.kafka.properties, allow_plaintext_sasl=settings.kafka.allow_plaintext_sasl
    ):
        yield ("kafka.properties",), problem
