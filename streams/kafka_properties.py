"""Kafka client properties: one block in librdkafka's names, checked whole, used by confluent and by Faust.

confluent-kafka takes the properties as they are. Faust reads from the same block: only security
matters to it, and what it cannot honour is refused instead of dropped, because a dropped security
setting is a connection that is weaker than its configuration says.
"""

import difflib
import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from streams.errors import Problem

Value = str | SecretStr

_FILE = "_file"

SECRETS = frozenset(
    {
        "sasl.password",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.config",
        "ssl.key.password",
        "ssl.key.pem",
        "ssl.keystore.password",
    }
)
"""Properties whose value must not be in the configuration file, nor shown."""

_CONSUMPTION = "the pipeline commits offsets itself, behind delivered results"
_STATE = "each partition of the state has a transactional id of its own, so that a paused owner is fenced"
_DELIVERY = "results must arrive once, in order and without holes"
_CODE = "it runs foreign code or commands in the worker"
OWNED: dict[str, str] = {
    "bootstrap.servers": "set kafka.bootstrap_servers",
    "metadata.broker.list": "set kafka.bootstrap_servers",
    "group.id": "consumer groups are <app_id>-ingest and <app_id>-detect; set app_id",
    "group.instance.id": "all workers would share it and fence one another",
    "group.protocol": "both stages use the classic protocol",
    "partition.assignment.strategy": "both stages choose it",
    "enable.auto.commit": _CONSUMPTION,
    "auto.commit.interval.ms": _CONSUMPTION,
    "enable.auto.offset.store": _CONSUMPTION,
    "auto.offset.reset": "a group without offsets starts with the earliest record, so that nothing is lost",
    "isolation.level": "state is read committed, the request bus as its producers write it",
    "enable.partition.eof": "the pipeline needs it to tell an idle partition from a slow one",
    "session.timeout.ms": "set session_timeout_s",
    "heartbeat.interval.ms": "set heartbeat_s",
    "transactional.id": _STATE,
    "transaction.timeout.ms": _STATE,
    "enable.idempotence": _DELIVERY,
    "enable.gapless.guarantee": _DELIVERY,
    "acks": _DELIVERY,
    "request.required.acks": _DELIVERY,
    "max.in.flight": _DELIVERY,
    "max.in.flight.requests.per.connection": _DELIVERY,
    "retries": _DELIVERY,
    "message.send.max.retries": _DELIVERY,
    "message.timeout.ms": _DELIVERY,
    "delivery.timeout.ms": _DELIVERY,
    "linger.ms": "set ingest.linger_ms",
    "queue.buffering.max.ms": "set ingest.linger_ms",
    "partitioner": "accounts are placed with murmur2, everywhere the same",
    "plugin.library.paths": _CODE,
    "ssl.engine.location": _CODE,
    "ssl.providers": _CODE,
    "sasl.kerberos.kinit.cmd": _CODE,
}
"""Properties the pipeline sets itself, and why they cannot be set."""

_SASL_PLAIN = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_FILES_ONLY = "Give PEM files: ssl.ca.location, ssl.certificate.location, ssl.key.location"
NOT_FOR_FAUST = {
    "ssl.keystore.location": f"the detect stage cannot read a PKCS#12 key store. {_FILES_ONLY}",
    "ssl.keystore.password": f"the detect stage cannot read a PKCS#12 key store. {_FILES_ONLY}",
    "ssl.key.pem": f"the detect stage takes keys from files. {_FILES_ONLY}",
    "ssl.certificate.pem": f"the detect stage takes certificates from files. {_FILES_ONLY}",
    "ssl.ca.pem": f"the detect stage takes certificates from files. {_FILES_ONLY}",
    "ssl.crl.location": "the detect stage cannot check revocation lists",
    "ssl.curves.list": "the detect stage cannot set it",
    "ssl.sigalgs.list": "the detect stage cannot set it",
}
"""Properties that librdkafka has and Faust cannot honour, and why that is."""

_COMMON = (  # only for "did you mean"
    *OWNED,
    *SECRETS,
    *NOT_FOR_FAUST,
    "security.protocol",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.cipher.suites",
    "ssl.endpoint.identification.algorithm",
    "enable.ssl.certificate.verification",
    "client.id",
    "client.rack",
    "broker.address.family",
    "socket.timeout.ms",
    "socket.keepalive.enable",
    "socket.connection.setup.timeout.ms",
    "reconnect.backoff.ms",
    "reconnect.backoff.max.ms",
    "metadata.max.age.ms",
    "fetch.wait.max.ms",
    "fetch.message.max.bytes",
    "max.partition.fetch.bytes",
    "message.max.bytes",
    "compression.type",
    "debug",
)


class PropertyError(ValueError):
    """A property cannot be used; `name` says which."""

    def __init__(self, name: str, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.name = name
        self.fix = fix


def canonical(raw: object) -> dict[str, object]:
    """Flat properties with one spelling of each name, values as they came.

    Unquoted dotted keys are nested tables in TOML, and environment variables cannot hold dots
    (`SECURITY_PROTOCOL`); no librdkafka property has an underscore in its name, so both are
    unambiguous. Names that end in `_file` keep that ending: the value is in the file.

    Raises
    ------
    PropertyError
        This is no table, or a name is in it twice.
    """
    if not isinstance(raw, Mapping):
        raise PropertyError("", "must be a table of librdkafka properties")
    flat: dict[str, object] = {}
    for path, value in _leaves(raw, ""):
        name = path.lower()
        suffix = _FILE if name.endswith((_FILE, ".file")) else ""
        name = name[: len(name) - len(suffix)].replace("_", ".")
        name = "sasl.mechanisms" if name == "sasl.mechanism" else name
        if name in flat or f"{name}{_FILE}" in flat:
            raise PropertyError(name, "is given twice", "Keep one, either the value or the file")
        flat[name + suffix] = value
    return flat


def merge(below: object, above: object) -> dict[str, object]:
    """Properties of two sources, in canonical form; a value or file above goes over either below."""
    lower, upper = canonical(below), canonical(above)
    named = {name.removesuffix(_FILE) for name in upper}
    return {name: value for name, value in lower.items() if name.removesuffix(_FILE) not in named} | upper


def normalise(raw: object) -> dict[str, Value]:
    """Values by canonical name, read from their files, secrets wrapped.

    Raises
    ------
    PropertyError
        See `canonical`; or a value is not plain, or a file cannot be read.
    """
    found: dict[str, Value] = {}
    for path, value in canonical(raw).items():
        name = path.removesuffix(_FILE)
        text = _text(name, value) if name == path else _read_file(name, value)
        found[name] = SecretStr(text) if name in SECRETS and isinstance(text, str) else text
    return found


def _leaves(raw: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    leaves: list[tuple[str, Any]] = []
    for name, value in raw.items():
        if isinstance(value, Mapping):
            leaves.extend(_leaves(value, f"{prefix}{name}."))
        else:
            leaves.append((f"{prefix}{name}", value))
    return leaves


def _text(name: str, value: object) -> Value:
    if isinstance(value, SecretStr):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise PropertyError(name, f"must be text, a number or true/false, not {type(value).__name__}")


def _read_file(name: str, value: object) -> str:
    try:
        return Path(str(value)).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:  # not there, not UTF-8, no path at all
        raise PropertyError(name, f"its file cannot be read: {error}") from None


def plain(properties: Mapping[str, Value]) -> dict[str, str]:
    """Properties with their secrets revealed, as clients need them."""
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in properties.items()
    }


def check(properties: Mapping[str, Value], *, allow_plaintext_sasl: bool) -> list[Problem]:
    """Everything that is wrong with the properties; asks librdkafka itself, without a connection."""
    if not properties:
        return []
    problems = [
        _problem(name, "is set by the pipeline and cannot be changed", f"Remove it: {OWNED[name]}")
        for name in properties
        if name in OWNED
    ]
    revealed = {name: value for name, value in plain(properties).items() if name not in OWNED}
    for name, value in revealed.items():
        problems.extend(_check_one(name, value))
    if not problems:
        problems.extend(_check_protocol(revealed, allow_plaintext_sasl))
    if not problems:
        problems.extend(_check_together(revealed))
    return problems


def _problem(name: str, message: str, fix: str = "") -> Problem:
    return Problem(f'kafka.properties."{name}"' if name else "kafka.properties", message, fix)


def _try_client(properties: Mapping[str, str]) -> str | None:
    """What librdkafka says against the properties, or None. No servers are named, so nothing is connected."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    try:
        AdminClient({"log_level": 0, **properties})
    except KafkaException as failure:
        text = str(failure.args[0].str()).strip().removeprefix("Failed to create admin client: ")
    except (TypeError, ValueError) as error:
        text = str(error)
    else:
        return None
    for name, value in properties.items():
        if name in SECRETS and value:
            text = text.replace(value, "(hidden)")
    return text


def _check_one(name: str, value: str) -> list[Problem]:
    if name in NOT_FOR_FAUST:
        message, _, fix = NOT_FOR_FAUST[name].partition(". ")
        return [_problem(name, message, fix or "Remove it")]
    if name.endswith(".location"):
        return []  # looked at together with the rest: a key needs its certificate
    complaint = _try_client({name: value})
    if complaint is None:
        return []
    if "No such configuration property" in complaint:
        near = difflib.get_close_matches(name, _COMMON, n=1, cutoff=0.75)
        fix = f"Did you mean {near[0]}?" if near else "See librdkafka's CONFIGURATION.md for the names"
        return [_problem(name, "librdkafka has no such property", fix)]
    if name in complaint and re.search(
        "invalid value|outside allowed range|expected", complaint, re.IGNORECASE
    ):
        return [_problem(name, complaint)]
    return []


def _check_protocol(properties: Mapping[str, str], allow_plaintext_sasl: bool) -> list[Problem]:
    protocol = _protocol(properties)
    given = sorted(name for name in properties if name.startswith("sasl."))
    if not protocol.startswith("sasl"):
        if given:
            return [
                _problem(
                    "security.protocol",
                    f"is {protocol}, so {', '.join(given)} would not be used",
                    "Set it to sasl_ssl, or remove the sasl.* properties",
                )
            ]
        if protocol == "plaintext" and (
            tls := sorted(name for name in properties if name.startswith("ssl."))
        ):
            return [
                _problem(
                    "security.protocol",
                    f"is plaintext, so {', '.join(tls)} would not be used",
                    "Set it to ssl, or remove the ssl.* properties",
                )
            ]
        return []
    problems = []
    mechanism = properties.get("sasl.mechanisms")
    if mechanism not in _SASL_PLAIN:
        problems.append(
            _problem(
                "sasl.mechanisms",
                f"is {mechanism!r}" if mechanism else "is missing",
                f"Set it to one of {', '.join(_SASL_PLAIN)}; both stages can use these",
            )
        )
    problems.extend(
        _problem(name, "is missing", hint)
        for name, hint in (
            ("sasl.username", "Set it"),
            (
                "sasl.password",
                'Set EXTRACTION_KAFKA__PROPERTIES__SASL_PASSWORD, or name a file in "sasl.password_file"',
            ),
        )
        if not properties.get(name)
    )
    if protocol == "sasl_plaintext" and not allow_plaintext_sasl:
        problems.append(
            _problem(
                "security.protocol",
                "is sasl_plaintext: the password, or what it can be guessed from, would travel in clear",
                "Use sasl_ssl, or set kafka.allow_plaintext_sasl = true where the network is trusted",
            )
        )
    return problems


def _check_together(properties: Mapping[str, str]) -> list[Problem]:
    try:
        if _protocol(properties).endswith("ssl"):
            _ssl_context(properties)
    except PropertyError as error:
        return [_problem(error.name, str(error), error.fix)]
    complaint = _try_client(properties)
    return [_problem("", complaint)] if complaint else []


def _protocol(properties: Mapping[str, str]) -> str:
    return properties.get("security.protocol", "plaintext").lower()


def _is_off(value: str | None) -> bool:
    return value is not None and value.lower() in ("false", "f", "0", "none")


def _ssl_context(properties: Mapping[str, str]) -> ssl.SSLContext:
    """TLS settings for Faust, meaning what the same properties mean to librdkafka."""
    authority = properties.get("ssl.ca.location")
    if authority == "probe":
        authority = None
    try:
        if authority is None:
            context = ssl.create_default_context()
        elif os.path.isdir(authority):
            context = ssl.create_default_context(capath=authority)
        else:
            context = ssl.create_default_context(cafile=authority)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        raise PropertyError("ssl.ca.location", f"{authority} cannot be used: {error}") from None
    if _is_off(properties.get("ssl.endpoint.identification.algorithm")):
        context.check_hostname = False
    if _is_off(properties.get("enable.ssl.certificate.verification")):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate, key = properties.get("ssl.certificate.location"), properties.get("ssl.key.location")
    if (certificate is None) != (key is None):
        raise PropertyError(
            "ssl.key.location" if key is None else "ssl.certificate.location",
            "is missing",
            "A client certificate and its key go together",
        )
    if certificate is not None:
        # Without a callback OpenSSL would ask on the terminal, and a worker would wait there for ever.
        password = properties.get("ssl.key.password", "")
        try:
            context.load_cert_chain(certificate, key, password=lambda: password)
        except (OSError, ValueError) as error:  # SSLError is an OSError
            raise PropertyError(
                "ssl.certificate.location", f"{certificate} with {key} cannot be used: {error}"
            ) from None
    ciphers = properties.get("ssl.cipher.suites")
    if ciphers is not None:
        try:
            context.set_ciphers(ciphers)
        except ssl.SSLError as error:
            raise PropertyError("ssl.cipher.suites", f"{ciphers!r} cannot be used: {error}") from None
    return context


def faust_credentials(properties: Mapping[str, Value]) -> Any:
    """Faust's form of the security properties, None for plaintext.

    Returns
    -------
    faust.auth.Credentials or None
    """
    revealed = plain(properties)
    protocol = _protocol(revealed)
    if protocol == "plaintext":
        return None
    from faust.auth import SASLCredentials, SSLCredentials

    # Faust takes a missing context for SASL_PLAINTEXT, so the context is what makes it SASL_SSL.
    context = _ssl_context(revealed) if protocol.endswith("ssl") else None
    if protocol == "ssl":
        return SSLCredentials(context)
    return SASLCredentials(
        username=revealed["sasl.username"],
        password=revealed["sasl.password"],
        ssl_context=context,
        mechanism=revealed["sasl.mechanisms"],
    )
