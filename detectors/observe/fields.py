"""Everything of an event that is not prompt text: numbers clamped to their columns, names as keyed hashes.

The fields fill the end of a row, from `max_tokens` on. Each event's are packed into bytes, and the
bytes of a batch are laid into the rows at once; what repeats from event to event is packed once.
"""

import datetime as dt
import hashlib
import ipaddress
import math
import struct
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np

from detectors.events import AccountFacts, Client, Params, RequestEvent, Usage, epoch_ms
from detectors.observation import (
    ABSENT,
    FLAG_LOGIT_BIAS,
    FLAG_LOGPROBS,
    FLAG_SEED,
    FLAG_STREAM,
    FLAG_TOOLS,
    ROW,
)

_ASKED = ("max_tokens", "temperature", "top_p", "choices", "top_logprobs", "logit_bias_keys", "logit_bias")
_SPENT_AND_NAMED = (
    "input_tokens",
    "output_tokens",
    "finish",
    "model",
    "conversation",
    "organisation",
    "api_key",
)
_CALLER = ("address", "network", "asn", "client", "device")
_OWNER = ("payment", "created_ms", "tier", "pathway")
_FIELDS = _ASKED + _SPENT_AND_NAMED + _CALLER + _OWNER
if (ROW.names or ())[-len(_FIELDS) :] != _FIELDS:
    raise TypeError("the fields of ROW from max_tokens on must be those of FieldReader, in its order")

_NAMES = 20_000  # hashes remembered of each kind of name: a hash costs a microsecond, a look-up a tenth
_GROUPS = 4_096  # packed groups of fields remembered of each kind
_LONGEST = 256  # characters of a name that is remembered, so that memory stays small whatever is sent
_BIASED = 256  # tokens of a logit bias that are told apart
_INT32 = (1 << 31) - 1
_FLOAT32 = 1e30

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


def keyed(key: bytes, kind: str) -> Callable[[bytes], int]:
    """Keyed 64-bit hash of bytes, never 0; `kind` keeps equal values of different meaning apart."""
    fresh = hashlib.blake2b(key=key, person=kind.encode(), digest_size=8).copy

    def hashed(value: bytes) -> int:
        state = fresh()
        state.update(value)
        return int.from_bytes(state.digest(), "little") or 1

    return hashed


class FieldReader:
    """Reads the fields of events.

    Parameters
    ----------
    key : bytes
        Secret, at most 64 bytes.
    """

    def __init__(self, key: bytes) -> None:
        def names(kind: str) -> _Memory[str | None, int]:
            hashed = keyed(key, kind)
            return _Memory(lambda name: hashed(_encoded(name)) if name else 0, _short, _NAMES)

        self._finish, self._model, self._conversation = map(names, ("finish", "model", "conversation"))
        self._organisation, self._api_key = map(names, ("organisation", "api_key"))
        self._client, self._device, self._payment = map(names, ("client", "device", "payment"))
        self._tier, self._pathway = map(names, ("tier", "pathway"))
        self._address, self._network, self._bias = (
            keyed(key, kind) for kind in ("address", "network", "logit_bias")
        )
        self._asked = _Memory(self._pack_asked, _always, _GROUPS)
        self._caller = _Memory(self._pack_caller, _short_fields, _GROUPS)
        self._owner = _Memory(self._pack_owner, _short_fields, _GROUPS)

    def fill(self, events: Sequence[RequestEvent], rows: np.ndarray[Any, Any]) -> None:
        """Write the fields of events into their rows, and add the parameters' flags."""
        packed: list[bytes] = []
        flags: list[int] = []
        for event in events:
            params, usage = event.params, event.usage or _NO_USAGE
            # A dictionary cannot be looked up, and a sweep's biases differ from request to request.
            biased = params is not None and params.logit_bias is not None
            flag, asked = self._pack_asked(params) if biased else self._asked[params]
            flags.append(flag)
            packed += (
                asked,
                _pack_spent_and_named(
                    _count(usage.input_tokens),
                    _count(usage.output_tokens),
                    self._finish[event.finish_reason],
                    self._model[event.model],
                    self._conversation[event.conversation_id],
                    self._organisation[event.org_id],
                    self._api_key[event.api_key_id],
                ),
                self._caller[event.client],
                self._owner[event.account],
            )
        rows["flags"] |= np.array(flags, dtype=np.uint16)
        octets = np.frombuffer(b"".join(packed), dtype=np.uint8).reshape(len(rows), -1)
        rows.view(np.uint8).reshape(len(rows), ROW.itemsize)[:, -octets.shape[1] :] = octets

    def _pack_asked(self, params: Params | None) -> tuple[int, bytes]:
        """Flags and packed parameters."""
        asked = params or _NO_PARAMS
        bias = asked.logit_bias
        flags = (
            (FLAG_LOGPROBS if asked.logprobs or asked.top_logprobs else 0)
            | (FLAG_LOGIT_BIAS if bias else 0)
            | (FLAG_SEED if asked.seed is not None else 0)
            | (FLAG_STREAM if asked.stream else 0)
            | (FLAG_TOOLS if asked.tools else 0)
        )
        return flags, _pack_asked(
            _count(asked.max_tokens),
            _real(asked.temperature),
            _real(asked.top_p),
            _count(asked.n),
            _count(asked.top_logprobs),
            ABSENT if bias is None else _count(len(bias)),
            # Which tokens, in any order: a sweep over the vocabulary names ever new sets of them.
            self._bias(_encoded("\n".join(sorted(bias)[:_BIASED]))) if bias else 0,
        )

    def _pack_caller(self, client: Client | None) -> bytes:
        caller = client or _NO_CLIENT
        address, network = _address(caller.ip)
        agent = f"{caller.user_agent or ''}\n{caller.ja4 or ''}"
        return _pack_caller(
            self._address(address) if address else 0,
            self._network(network) if network else 0,
            caller.asn if caller.asn is not None and 0 <= caller.asn < 1 << 32 else ABSENT,
            self._client[agent] if agent != "\n" else 0,
            self._device[caller.device_id],
        )

    def _pack_owner(self, account: AccountFacts | None) -> bytes:
        facts = account or _NO_FACTS
        return _pack_owner(
            self._payment[facts.payment_fingerprint],
            _instant(facts.created_at),
            self._tier[facts.tier],
            self._pathway[facts.pathway],
        )


class _Memory(dict[_Key, _Value], Generic[_Key, _Value]):
    """Values of a pure function, remembered; all are forgotten when there are too many.

    Parameters
    ----------
    make : callable
        The function.
    worth : callable
        Which keys are worth their place.
    size : int
        Most values remembered, >= 1.
    """

    def __init__(self, make: Callable[[_Key], _Value], worth: Callable[[_Key], bool], size: int) -> None:
        super().__init__()
        self._make, self._worth, self._size = make, worth, size

    def __missing__(self, key: _Key) -> _Value:
        value = self._make(key)
        if self._worth(key):
            if len(self) >= self._size:
                self.clear()
            self[key] = value
        return value


def _packer(fields: Sequence[str]) -> Callable[..., bytes]:
    codes = {"<i4": "i", "<i8": "q", "<u8": "Q", "<f4": "f"}
    return struct.Struct("<" + "".join(codes[ROW[field].str] for field in fields)).pack


_pack_asked, _pack_spent_and_named = _packer(_ASKED), _packer(_SPENT_AND_NAMED)
_pack_caller, _pack_owner = _packer(_CALLER), _packer(_OWNER)
_NO_PARAMS, _NO_USAGE, _NO_CLIENT, _NO_FACTS = Params(), Usage(), Client(), AccountFacts()


def _always(_: Hashable) -> bool:
    return True


def _short(name: str | None) -> bool:
    return name is None or len(name) <= _LONGEST


def _short_fields(group: msgspec.Struct | None) -> bool:
    return group is None or all(
        len(value) <= _LONGEST for value in msgspec.structs.astuple(group) if isinstance(value, str)
    )


def _encoded(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")


def _count(value: int | None) -> int:
    return ABSENT if value is None or value < 0 else min(value, _INT32)


def _real(value: float | None) -> float:
    return math.nan if value is None or not math.isfinite(value) else max(-_FLOAT32, min(_FLOAT32, value))


def _address(ip: str | None) -> tuple[bytes, bytes]:
    """An address however it is written, and its /24 (IPv4) or /48 (IPv6); empty where there is none."""
    if not ip:
        return b"", b""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return _encoded(ip), b""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.packed, address.packed[: 3 if address.version == 4 else 6]


def _instant(value: int | str | None) -> int:
    """Milliseconds since the epoch; `ABSENT` for what is not an instant after it."""
    if isinstance(value, str):
        try:
            instant = msgspec.convert(value, dt.datetime)
        except msgspec.ValidationError:
            return ABSENT
        value = epoch_ms(instant if instant.tzinfo else instant.replace(tzinfo=dt.UTC))
    return value if value is not None and 0 <= value < 1 << 62 else ABSENT
