"""Configuration: one frozen object from a TOML file and the environment, validated as a whole.

`Settings(...)` itself reads nothing but its arguments. `load_settings` reads: defaults, below a
TOML file, below environment variables (`EXTRACTION_` and `__` for nesting), below what the command
line says. Secrets come from the environment or from files of their own, never from the TOML file.
"""

import datetime as dt
import difflib
import logging
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from streams import kafka_properties
from streams.errors import Problem, SettingsError
from streams.kafka_properties import PropertyError

__all__ = ["Settings", "SettingsError", "load_settings"]

_log = logging.getLogger(__name__)

ENV_PREFIX = "EXTRACTION_"
CONFIG_VARIABLE = "EXTRACTION_CONFIG"
MIN_KEY_BYTES = 16
_DEVELOPMENT_KEY = b"extraction-detector: for development only, known to everybody"

_EARLIEST = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)

# Kubernetes puts these into every container of a namespace with a Service called `extraction-...`.
_SERVICE_LINK = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)$")

TopicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]


def _comma_separated(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False, validate_default=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool_for_number(cls, value: object, info: Any) -> object:
        # Pydantic would read `linger_ms = true` as 1.
        if isinstance(value, bool) and cls.model_fields[info.field_name].annotation in (int, float):
            raise PydanticCustomError("not_a_number", "must be a number, not true or false")
        return value


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
        """Settings of a confluent-kafka client that reach the cluster, secrets revealed."""
        return {"bootstrap.servers": self.bootstrap_servers, **kafka_properties.plain(self.properties)}

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

    alerts: TopicName = "extraction.alerts"
    """Alerts, for people and other systems."""

    control: TopicName = "extraction.control"
    """Compacted: labels, allow-list entries, suppressions."""

    deadletter: TopicName = "extraction.deadletter"
    """Records that are not request events, byte for byte, with the reason in headers."""

    partitions: int = Field(8, ge=1, le=1024)
    """Partitions of observations and state, the unit of scaling: at most so many detect workers share the
    accounts. Cannot be changed later without starting the state afresh."""

    replication_factor: int = Field(-1, ge=-1, le=32)
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

    max_event_bytes: int = Field(16_777_216, ge=1024, le=1_000_000_000)
    """Larger records are refused. Bytes."""

    text_chars: int = Field(8192, ge=256, le=1_000_000)
    """Text of an event that is read; the rest is only counted. Characters."""

    max_messages: int = Field(10_000, ge=1, le=1_000_000)
    """Events with more messages are refused. Count."""

    linger_ms: int = Field(50, ge=1, le=10_000)
    """How long observations are collected before they are sent: longer costs latency and saves work.
    Milliseconds."""

    rows_per_message: int = Field(200, ge=1, le=5000)
    """Most observations in one Kafka message. Count."""

    fetch: int = Field(500, ge=1, le=100_000)
    """Most records taken from the bus at a time. Count."""

    dead_letter_share: float = Field(0.9, gt=0, le=1)
    """The worker stops when so many of the last `dead_letter_window` records are not request events, instead
    of draining the bus into the dead letters. Share."""

    dead_letter_window: int = Field(200, ge=10, le=1_000_000)
    """Records the breaker looks back on. Count."""


class OrderingSettings(_Section):
    """How events of several bus partitions are put into one order."""

    lateness_ms: int = Field(200, ge=0, le=86_400_000)
    """How far behind the newest event of its partition an event may be and still be put in its place.
    Milliseconds."""

    idle_ms: int = Field(1000, ge=10, le=3_600_000)
    """A bus partition without new records for so long is not waited for. Milliseconds."""

    silent_s: float = Field(60.0, ge=1, le=86_400)
    """A bus partition of which nothing is heard for so long, because its reader is gone, is not waited for.
    Seconds."""

    buffer_rows: int = Field(200_000, ge=1000, le=100_000_000)
    """Observations that may wait for a slower partition, per detect partition. Count."""


class EventSettings(_Section):
    """What times are believed."""

    earliest: AwareDatetime = _EARLIEST
    """Events from before this time are refused. RFC 3339, with a time zone."""

    clock_skew_s: float = Field(3600.0, ge=0, le=30 * 86_400)
    """Events further in the future than this, compared with when they were appended, are refused. Seconds."""


class DetectionSettings(_Section):
    """What counts as extraction."""

    budget: float = Field(0.001, gt=0, le=0.5)
    """Share of ordinary accounts that may ever be flagged; lower is stricter. Share."""

    window_events: int = Field(1024, ge=16, le=1_000_000)
    """Events of an account that a decision looks back on. Count."""

    quiet_period_h: float = Field(24.0, ge=0, le=24 * 365)
    """After an alert, the same subject is quiet for so long unless it gets worse. Hours of event time."""

    account_ttl_days: float = Field(30.0, gt=0, le=3650)
    """Accounts without events for so long are forgotten. Days of event time."""

    allow: Annotated[tuple[str, ...], BeforeValidator(_comma_separated)] = ()
    """Account ids that are never alerted on."""

    profile: Path | None = None
    """File with the reference population to compare accounts with; without it the one that ships is used."""

    @field_validator("profile")
    @classmethod
    def _check_profile(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise PydanticCustomError("no_file", "{path} is not a file", {"path": str(value)})
        return value


class StateSettings(_Section):
    """What is remembered of accounts."""

    flush_ms: int = Field(1000, ge=10, le=600_000)
    """How often state is saved: what a killed worker has to repeat. Milliseconds."""

    max_accounts: int = Field(200_000, ge=100, le=100_000_000)
    """Accounts kept per partition; beyond it those silent longest are dropped. Count."""

    max_state_bytes: int = Field(4096, ge=512, le=1_000_000)
    """Largest saved state of one account. Bytes."""


class MetricsSettings(_Section):
    """The page with metrics and health."""

    host: str = Field("127.0.0.1", min_length=1)
    """Address to listen on. In a container set 0.0.0.0, or nobody outside reaches it."""

    port: int = Field(9464, ge=0, le=65535)
    """Port to listen on; 0 takes any free one and logs it."""


class HealthSettings(_Section):
    """When a worker counts as stuck."""

    stall_s: float = Field(60.0, ge=1, le=86_400)
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

    app_id: str = Field("extraction-detector", pattern=r"^[A-Za-z0-9._-]{1,150}$")
    """Names the deployment: consumer groups `<app_id>-ingest` and `<app_id>-detect`, transactional ids
    `<app_id>-state-<partition>`."""

    session_timeout_s: float = Field(10.0, ge=1, le=1800)
    """A worker not heard of for so long loses its partitions to the others. Seconds."""

    heartbeat_s: float = Field(3.0, ge=0.1, le=600)
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

    @field_validator("hash_key")
    @classmethod
    def _check_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value().encode("utf-8", "replace")) < MIN_KEY_BYTES:
            raise PydanticCustomError("short_key", f"is shorter than {MIN_KEY_BYTES} bytes")
        return value

    @model_validator(mode="after")
    def _check_together(self) -> "Settings":
        found = list(_contradictions(self))
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


def _contradictions(settings: Settings) -> Iterator[tuple[tuple[str, ...], Problem]]:
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


# -- loading ---------------------------------------------------------------------------------------


def load_settings(path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read and validate the configuration.

    Parameters
    ----------
    path : Path or None
        TOML file; None takes the one `EXTRACTION_CONFIG` names, if any.
    overrides : mapping or None
        Values over everything else, nested (`{"topics": {"partitions": 4}}`) or dotted
        (`{"topics.partitions": 4}`).

    Raises
    ------
    SettingsError
        With every problem, not only the first.
    """
    problems: list[Problem] = []
    if path is None and os.environ.get(CONFIG_VARIABLE):
        path = Path(os.environ[CONFIG_VARIABLE])
    from_file = {} if path is None else _read_toml(path, problems)
    from_environment = EnvSettingsSource(Settings)()
    problems.extend(_unknown_variables())
    tree = _merge(_merge(from_file, from_environment), _nested(overrides or {}))
    _read_key_file(tree, problems)
    bad: set[str] = {problem.where for problem in problems}
    settings = None
    # What is wrong is taken out and the rest tried again, so that contradictions show as well.
    for _ in range(4):
        try:
            settings = Settings(**tree)
            break
        except ValidationError as error:
            for fault in error.errors(include_url=False):
                problems.extend(_explain(fault, from_file, from_environment, path, bad))
                _remove(tree, fault["loc"])
    if problems or settings is None:
        raise SettingsError(list(dict.fromkeys(problems)))
    return settings


def _read_toml(path: Path, problems: list[Problem]) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            tree = tomllib.load(file)
    except OSError as error:
        problems.append(Problem(str(path), f"the configuration file cannot be read: {error.strerror}"))
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(Problem(str(path), f"is not TOML: {error}"))
        return {}
    if "hash_key" in tree:
        del tree["hash_key"]
        problems.append(
            Problem(
                "hash_key",
                f"is a secret and must not be in {path}",
                f"Set {ENV_PREFIX}HASH_KEY in the environment, or hash_key_file to a file that holds it",
            )
        )
    properties = tree.get("kafka", {}).get("properties") if isinstance(tree.get("kafka"), dict) else None
    if isinstance(properties, dict):
        problems.extend(_remove_secrets(properties, "", path))
    return tree


def _remove_secrets(table: dict[str, Any], prefix: str, path: Path) -> Iterator[Problem]:
    for name in list(table):
        full = f"{prefix}{name}".lower()
        if isinstance(table[name], dict):
            yield from _remove_secrets(table[name], f"{full}.", path)
        elif full in kafka_properties.SECRETS:
            del table[name]
            variable = f"{ENV_PREFIX}KAFKA__PROPERTIES__{full.replace('.', '_').upper()}"
            yield Problem(
                f'kafka.properties."{full}"',
                f"is a secret and must not be in {path}",
                f'Set {variable} in the environment, or "{full}_file" to a file that holds it',
            )


def _unknown_variables() -> list[Problem]:
    """Environment variables of ours whose first part is no key; deeper ones fail in validation."""
    problems = []
    for variable in sorted(os.environ):
        upper = variable.upper()
        if not upper.startswith(ENV_PREFIX) or upper == CONFIG_VARIABLE or _SERVICE_LINK.search(upper):
            continue
        key = upper.removeprefix(ENV_PREFIX).lower()
        first, *deeper = key.split("__")
        field = Settings.model_fields.get(first)
        if field is None or bool(deeper) != _is_section(field.annotation):
            dotted = ".".join(key.split("__"))
            problems.append(
                Problem(f"environment variable {variable}", "names no key", _did_you_mean(dotted, env=True))
            )
    return problems


def _is_section(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _keys() -> list[str]:
    """Every key, dotted."""
    keys: list[str] = []
    for name, field in Settings.model_fields.items():
        if _is_section(field.annotation):
            section = cast("type[BaseModel]", field.annotation)
            keys.extend(f"{name}.{inner}" for inner in section.model_fields)
        else:
            keys.append(name)
    return keys


def _did_you_mean(key: str, *, env: bool = False) -> str:
    """A known key like this one, also when only its last part is like it (a key in the wrong section)."""
    keys = _keys()
    sections = [name for name, field in Settings.model_fields.items() if _is_section(field.annotation)]
    by_leaf = {known.rpartition(".")[2]: known for known in keys}
    near = difflib.get_close_matches(key, [*keys, *sections], n=1, cutoff=0.75)
    leaf = difflib.get_close_matches(key.rpartition(".")[2], by_leaf, n=1, cutoff=0.8)
    if not near and not leaf:
        return "Remove it; docs/configuration.md lists every key"
    best = near[0] if near else by_leaf[leaf[0]]
    if env:
        best = variable_of(best)
    return f"Did you mean {best}?"


def variable_of(key: str) -> str:
    """Environment variable of a dotted key."""
    return ENV_PREFIX + key.replace(".", "__").upper()


def _nested(overrides: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in overrides.items():
        if value is None:
            continue
        inner: dict[str, Any] = dict(value) if isinstance(value, Mapping) else {}
        # Property names have dots themselves, so no more than section and key are split off.
        *sections, last = key.split(".", 2)
        branch: dict[str, Any] = {last: inner if isinstance(value, Mapping) else value}
        for section in reversed(sections):
            branch = {section: branch}
        tree = _merge(tree, branch)
    return tree


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _remove(tree: dict[str, Any], location: Sequence[int | str]) -> None:
    """Take the value at a location out, as deep as the location exists in the tree."""
    at: Any = tree
    for part in location[:-1]:
        if not isinstance(at, dict) or not isinstance(at.get(cast("str", part)), dict):
            break
        at[part] = dict(at[part])  # the sources keep their own
        at = at[part]
    else:
        if location and isinstance(at, dict):
            at.pop(location[-1], None)
        return
    if isinstance(at, dict):
        at.pop(part, None)


def _read_key_file(tree: dict[str, Any], problems: list[Problem]) -> None:
    file = tree.get("hash_key_file")
    if not file:
        return
    if tree.get("hash_key"):
        problems.append(Problem("hash_key_file", "is set, and hash_key too", "Keep one of them"))
        return
    try:
        tree["hash_key"] = Path(str(file)).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem("hash_key_file", f"{file} cannot be read: {error}"))
        return
    if not tree["hash_key"]:
        problems.append(Problem("hash_key_file", f"{file} is empty"))


def _explain(
    fault: Any,
    from_file: Mapping[str, Any],
    from_environment: Mapping[str, Any],
    path: Path | None,
    bad: set[str],
) -> Iterator[Problem]:
    """Say in plain words what is wrong, where it was said, and what would be right."""
    context = fault.get("ctx", {})
    location = [str(part) for part in fault["loc"]]
    key = ".".join(location[:2])
    if fault["type"] == "contradictions":
        # A contradiction with a value that is wrong in itself would only confuse.
        yield from (problem for keys, problem in context["found"] if not bad.intersection(keys))
        return
    bad.add(key)
    origin = _origin(location, from_file, from_environment, path)
    if fault["type"] == "extra_forbidden":
        yield Problem(key, f"no such key{origin}", _did_you_mean(key))
    elif fault["type"] == "kafka_property":
        where = f'kafka.properties."{context["name"]}"' if context["name"] else "kafka.properties"
        yield Problem(where, f"{context['text']}{origin}", context["fix"])
    else:
        secret = key in ("hash_key", "kafka.properties")
        given = "" if secret else f"{_show(fault['input'])} "
        yield Problem(key, f"{given}{_in_words(fault)}{origin}", _what_is_right(key))


def _origin(
    location: Sequence[str],
    from_file: Mapping[str, Any],
    from_environment: Mapping[str, Any],
    path: Path | None,
) -> str:
    for tree, name in (
        (from_environment, f"environment variable {variable_of('.'.join(location[:2]))}"),
        (from_file, str(path)),
    ):
        at: Any = tree
        for part in location[:2]:
            at = at.get(part) if isinstance(at, Mapping) else None
        if at is not None:
            return f" ({name})"
    return ""


def _show(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


_WORDS = {
    "int_parsing": "is not a whole number",
    "int_type": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_parsing": "is not a number",
    "float_type": "is not a number",
    "finite_number": "is not a finite number",
    "bool_parsing": "is neither true nor false",
    "bool_type": "is neither true nor false",
    "string_type": "is not text",
    "model_type": "is not a table",
    "tuple_type": "is not a list",
    "timezone_aware": "has no time zone",
    "greater_than": "is too small: it must be more than {gt}",
    "greater_than_equal": "is too small: it must be at least {ge}",
    "less_than": "is too large: it must be less than {lt}",
    "less_than_equal": "is too large: it must be at most {le}",
    "string_pattern_mismatch": "may hold only letters, digits, '.', '_' and '-', and not be too long",
    "literal_error": "is not one of {expected}",
}


def _in_words(fault: Any) -> str:
    words = _WORDS.get(fault["type"])
    if words is not None:
        return words.format(**fault.get("ctx", {}))
    if fault["type"].startswith(("datetime", "timezone")):
        return "is not a time like 2020-01-01T00:00:00Z"
    message = str(fault["msg"])
    return message[:1].lower() + message[1:]


def _field(key: str) -> Any:
    section, _, name = key.rpartition(".")
    fields = Settings.model_fields
    if section:
        outer = fields.get(section)
        if outer is None or not _is_section(outer.annotation):
            return None
        fields = cast("type[BaseModel]", outer.annotation).model_fields
    return fields.get(name)


def _what_is_right(key: str) -> str:
    field = _field(key)
    if field is None or not field.description:
        return ""
    default = field.default
    text = " ".join(field.description.split())
    known = default is not None and not field.is_required() and isinstance(default, str | int | float)
    return text + (f" Default: {default}" if known else "")
