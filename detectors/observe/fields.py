"""Everything of an event that is not prompt text: numbers clamped to their columns, names as keyed hashes."""

import datetime as dt
import hashlib
import ipaddress
import math
from typing import Any

import msgspec

from detectors.events import AccountFacts, Client, Params, RequestEvent, Usage, epoch_ms
from detectors.observation import (
    ABSENT,
    FLAG_LOGIT_BIAS,
    FLAG_LOGPROBS,
    FLAG_SEED,
    FLAG_STREAM,
    FLAG_TOOLS,
)

_CACHE = 100_000  # remembered hashes; names repeat, and a hash costs a microsecond
_INT32 = (1 << 31) - 1
_NAN = math.nan
_NO_PARAMS, _NO_USAGE, _NO_CLIENT, _NO_FACTS = Params(), Usage(), Client(), AccountFacts()

COLUMNS = (
    "messages",
    "flags",
    "max_tokens",
    "temperature",
    "top_p",
    "choices",
    "top_logprobs",
    "logit_bias_keys",
    "logit_bias",
    "input_tokens",
    "output_tokens",
    "finish",
    "model",
    "conversation",
    "organisation",
    "api_key",
    "address",
    "network",
    "asn",
    "client",
    "device",
    "payment",
    "created_ms",
    "tier",
    "pathway",
)
"""Fields of the row that `FieldReader.read` gives, in its order."""


class FieldReader:
    """Reads the fields of events.

    Parameters
    ----------
    key : bytes
        Secret, at most 64 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._hashes: dict[tuple[str, str], int] = {}
        self._networks: dict[str, str] = {}

    def name(self, kind: str, value: str | None) -> int:
        """Keyed hash of a name, different for each kind of name; 0 for none."""
        if not value:
            return 0
        known = self._hashes.get((kind, value))
        if known is None:
            if len(self._hashes) >= _CACHE:
                self._hashes.clear()
            known = self._hashes[kind, value] = keyed(self._key, kind, value.encode("utf-8", "surrogatepass"))
        return known

    def read(self, event: RequestEvent) -> tuple[Any, ...]:
        """Values of `COLUMNS`."""
        params = event.params or _NO_PARAMS
        usage = event.usage or _NO_USAGE
        client = event.client or _NO_CLIENT
        facts = event.account or _NO_FACTS
        name = self.name
        bias = params.logit_bias
        flags = 0
        if params is not _NO_PARAMS:
            if params.logprobs or params.top_logprobs:
                flags |= FLAG_LOGPROBS
            if bias:
                flags |= FLAG_LOGIT_BIAS
            if params.seed is not None:
                flags |= FLAG_SEED
            if params.stream:
                flags |= FLAG_STREAM
            if params.tools:
                flags |= FLAG_TOOLS
        agent = client.user_agent
        return (
            min(len(event.messages), 65535),
            flags,
            _count(params.max_tokens),
            _real(params.temperature),
            _real(params.top_p),
            _count(params.n),
            _count(params.top_logprobs),
            ABSENT if bias is None else min(len(bias), _INT32),
            # A sweep over tokens names them in ever new sets; sorted, because order carries nothing.
            0 if not bias else name("logit_bias", "\n".join(sorted(bias)[:64])),
            _count(usage.input_tokens),
            _count(usage.output_tokens),
            name("finish", event.finish_reason),
            name("model", event.model),
            name("conversation", event.conversation_id),
            name("organisation", event.org_id),
            name("api_key", event.api_key_id),
            name("address", client.ip),
            name("network", self._network(client.ip)),
            ABSENT if client.asn is None or not 0 <= client.asn < 1 << 32 else client.asn,
            name("client", f"{agent}\n{client.ja4}") if agent or client.ja4 else 0,
            name("device", client.device_id),
            name("payment", facts.payment_fingerprint),
            ABSENT if facts.created_at is None else _instant(facts.created_at),
            name("tier", facts.tier),
            name("pathway", facts.pathway),
        )

    def _network(self, ip: str | None) -> str | None:
        """The /24 of an IPv4 address, the /48 of an IPv6 one; None for anything else."""
        if not ip:
            return None
        known = self._networks.get(ip)
        if known is None:
            try:
                address = ipaddress.ip_address(ip)
            except ValueError:
                known = ""
            else:
                bits = 24 if address.version == 4 else 48
                known = str(ipaddress.ip_network((address, bits), strict=False))
            if len(self._networks) >= _CACHE:
                self._networks.clear()
            self._networks[ip] = known
        return known


def keyed(key: bytes, kind: str, value: bytes) -> int:
    """Keyed 64-bit hash of some bytes, never 0; `kind` keeps equal values of different meaning apart."""
    person = kind.encode()[:16]
    return (
        int.from_bytes(hashlib.blake2b(value, key=key, person=person, digest_size=8).digest(), "little") or 1
    )


def _count(value: int | None) -> int:
    return ABSENT if value is None or value < 0 else min(value, _INT32)


def _real(value: float | None) -> float:
    return _NAN if value is None or not math.isfinite(value) else max(-1e30, min(1e30, value))


def _instant(value: int | str) -> int:
    if isinstance(value, int):
        return value if 0 <= value < 1 << 62 else ABSENT
    try:
        instant = msgspec.convert(value, dt.datetime, strict=False)
    except msgspec.ValidationError:
        return ABSENT
    return epoch_ms(instant if instant.tzinfo else instant.replace(tzinfo=dt.UTC))
