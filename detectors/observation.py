"""The observation: what is kept of one exchange, as numbers and keyed hashes, never text.

`ROW` is the packed form (one NumPy record per exchange, little endian, fixed size); `Observation`
is the same record as a tuple with names, which is what detectors read. The fields and their order
are one definition, so the two cannot drift apart.
"""

from typing import Any, NamedTuple

import numpy as np

ROW_VERSION = 3
SKETCH_DIMENSIONS = 64
VOCABULARY_SAMPLE = 16
COVERAGE_BUCKETS = 4096
PURPOSES = 24

# Bits of `flags`: which request parameters were set.
FLAG_LOGPROBS = 1
FLAG_LOGIT_BIAS = 2
FLAG_SEED = 4
FLAG_STREAM = 8
FLAG_TOOLS = 16
FLAG_SYSTEM = 32  # a system or developer message was present
FLAG_TRUNCATED = 64  # the text was longer than the read limit

# Values of `role`: who spoke last.
ROLE_USER, ROLE_TOOL, ROLE_ASSISTANT, ROLE_OTHER = 0, 1, 2, 3

ABSENT = -1  # integers of fields the event did not carry; floats are NaN, hashes 0

ROW = np.dtype(
    [
        ("order_ms", "<i8"),  # place in the account's event-time order; filled by ingest
        ("time_ms", "<i8"),  # event time, ms since the epoch
        ("partition", "<u4"),  # where the event was read; filled by ingest
        ("offset", "<i8"),
        # what was asked: keyed 64-bit hashes over the text that is new in this exchange
        ("prompt", "<u8"),  # whole new text
        ("prefix", "<u8"),  # first four words, numbers masked
        ("suffix", "<u8"),  # last four words, numbers masked
        ("layout", "<u8"),  # first words of the lines, numbers masked
        ("system", "<u8"),  # system and developer text
        ("simhash", "<u8"),  # near-duplicate prompts differ in few bits
        ("bucket", "<u2"),  # locality-sensitive bucket of the topic, 0..4095
        (
            "sketch",
            f"V{SKETCH_DIMENSIONS}",
        ),  # int8[64], projected words and pairs, unit length times 127
        ("vocabulary", f"V{2 * VOCABULARY_SAMPLE}"),  # uint16[16], consistent sample of word hashes, 0 = none
        ("purpose", f"V{PURPOSES}"),  # int8[24], log-odds x 20 of each kind of query set, -128 = unknown
        ("marks", "<u4"),  # elicitation marks, one bit per family, see observe/marks
        ("chars", "<u4"),  # length of the new text, characters
        ("words", "<u4"),  # words read of it
        ("messages", "<u2"),
        ("turns", "<u2"),  # messages of the user
        ("role", "u1"),
        ("flags", "<u2"),
        ("entropy", "<f4"),  # of the bytes read, bits per byte
        ("compression", "<f4"),  # compressed bytes per byte read
        ("digits", "<f4"),  # shares of the bytes read, 0..1
        ("capitals", "<f4"),
        ("symbols", "<f4"),
        ("newlines", "<f4"),
        # how it was asked
        ("max_tokens", "<i4"),
        ("temperature", "<f4"),
        ("top_p", "<f4"),
        ("choices", "<i4"),  # n
        ("top_logprobs", "<i4"),
        ("logit_bias_keys", "<i4"),  # how many tokens were biased
        ("logit_bias", "<u8"),  # keyed hash of which tokens were biased
        ("input_tokens", "<i4"),
        ("output_tokens", "<i4"),
        ("finish", "<u8"),
        # who asked: keyed hashes that may tie accounts together
        ("model", "<u8"),
        ("conversation", "<u8"),
        ("organisation", "<u8"),
        ("api_key", "<u8"),
        ("address", "<u8"),
        ("network", "<u8"),  # /24 of IPv4, /48 of IPv6
        ("asn", "<i8"),
        ("client", "<u8"),  # user agent and TLS fingerprint together
        ("device", "<u8"),
        ("payment", "<u8"),
        ("created_ms", "<i8"),  # when the account was made
        ("tier", "<u8"),
        ("pathway", "<u8"),
    ]
)


class Observation(NamedTuple):
    """One exchange as detectors see it: the fields of `ROW`, with the account's and event's ids before them.

    Hashes are plain ints (0 = absent), counts are `ABSENT` when the event did not carry them, floats
    are NaN then; `sketch`, `vocabulary` and `purpose` are the raw bytes of their arrays.
    """

    account: str
    event_id: str
    order_ms: int = 0
    time_ms: int = 0
    partition: int = 0
    offset: int = 0
    prompt: int = 0
    prefix: int = 0
    suffix: int = 0
    layout: int = 0
    system: int = 0
    simhash: int = 0
    bucket: int = 0
    sketch: bytes = bytes(SKETCH_DIMENSIONS)
    vocabulary: bytes = bytes(2 * VOCABULARY_SAMPLE)
    purpose: bytes = b"\x80" * PURPOSES
    marks: int = 0
    chars: int = 0
    words: int = 0
    messages: int = 1
    turns: int = 1
    role: int = ROLE_USER
    flags: int = 0
    entropy: float = float("nan")
    compression: float = float("nan")
    digits: float = 0.0
    capitals: float = 0.0
    symbols: float = 0.0
    newlines: float = 0.0
    max_tokens: int = ABSENT
    temperature: float = float("nan")
    top_p: float = float("nan")
    choices: int = ABSENT
    top_logprobs: int = ABSENT
    logit_bias_keys: int = ABSENT
    logit_bias: int = 0
    input_tokens: int = ABSENT
    output_tokens: int = ABSENT
    finish: int = 0
    model: int = 0
    conversation: int = 0
    organisation: int = 0
    api_key: int = 0
    address: int = 0
    network: int = 0
    asn: int = ABSENT
    client: int = 0
    device: int = 0
    payment: int = 0
    created_ms: int = ABSENT
    tier: int = 0
    pathway: int = 0


if Observation._fields[2:] != ROW.names:  # one definition, checked once at import
    raise TypeError("Observation and ROW must have the same fields in the same order")


def rows_to_observations(
    accounts: list[str], event_ids: list[str], rows: "np.ndarray[Any, Any]"
) -> list[Observation]:
    """Named tuples of packed rows, in the given order; `accounts` and `event_ids` have one entry per row."""
    make = tuple.__new__
    return [
        make(Observation, (account, event_id, *row))
        for account, event_id, row in zip(accounts, event_ids, rows.tolist(), strict=True)
    ]
