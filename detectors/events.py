"""The request event: one exchange with the protected model, as `contracts/request-event.schema.json` has it.

msgspec Structs rather than dataclasses, because decoding straight into them is the cheapest step
of the whole pipeline; msgspec itself touches neither files nor the network.
"""

import datetime as dt
from typing import Annotated, Any, Literal

import msgspec

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)

Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Instant = Annotated[int, msgspec.Meta(ge=0)] | Annotated[dt.datetime, msgspec.Meta(tz=True)]


def epoch_ms(instant: int | dt.datetime) -> int:
    """Milliseconds since the Unix epoch of an instant given either way."""
    return instant if isinstance(instant, int) else (instant - _EPOCH) // _MILLISECOND


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message of the exchange; `content` is text, a list of parts, or null."""

    role: str
    content: str | list[Any] | None


class Params(msgspec.Struct, frozen=True, gc=False):
    """Sampling parameters of the request; null and absent mean the same."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: dict[str, Any] | None = None
    seed: int | None = None
    stream: bool | None = None
    tools: int | None = None


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens read and written."""

    input_tokens: int | None = None
    output_tokens: int | None = None


class Client(msgspec.Struct, frozen=True, gc=False):
    """Where the request came from."""

    ip: str | None = None
    asn: int | None = None
    country: str | None = None
    user_agent: str | None = None
    ja4: str | None = None
    device_id: str | None = None


class AccountFacts(msgspec.Struct, frozen=True, gc=False):
    """What the provider knows of the account."""

    created_at: int | str | None = None
    tier: str | None = None
    pathway: str | None = None
    verification: str | None = None
    payment_fingerprint: str | None = None
    country: str | None = None


class RequestEvent(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One exchange. Text in it may be read by `observe`; it is never kept."""

    event_id: Identifier
    time: Instant
    account_id: Identifier
    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    schema: Literal["extraction.request/1"] = "extraction.request/1"
    org_id: str | None = None
    api_key_id: str | None = None
    conversation_id: str | None = None
    operation: Literal["chat", "completion", "embedding", "other"] | None = None
    model: str | None = None
    params: Params | None = None
    usage: Usage | None = None
    finish_reason: str | None = None
    client: Client | None = None
    account: AccountFacts | None = None

    @property
    def time_ms(self) -> int:
        """Event time, milliseconds since the Unix epoch."""
        return epoch_ms(self.time)
