"""Request events to observation rows: the only code that reads prompts."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import zstandard

from detectors.errors import require
from detectors.events import RequestEvent
from detectors.observation import FLAG_SYSTEM, FLAG_TRUNCATED, ROW, ROW_VERSION
from detectors.observe import marks
from detectors.observe.fields import COLUMNS, FieldReader, keyed
from detectors.observe.shape import shape
from detectors.observe.text import SYSTEM_CHARS, Text, select
from detectors.observe.topics import TopicSketcher
from detectors.observe.words import U64, Ints, WordHasher, Words, chain

FEATURE_VERSION = 1
"""Raised by whatever changes a number or hash in a row for the same event and key."""

_COMPRESSED_BYTES = 2048  # of each text: enough to tell word salad from prose, at a bounded cost
_EDGE_WORDS = 4
_LAYOUT_LINES = 16
_BATCH_BYTES = 1 << 16  # texts hashed together; larger arrays fall out of the processor's cache


class Observer:
    """Turns request events into packed observations.

    Parameters
    ----------
    key : bytes
        Secret that keys every hash and projection; at least one byte.
    text_chars : int
        Characters of new text read of an exchange, >= 1. Longer texts are cut and flagged.

    Notes
    -----
    The row of an event depends on the event, the key and `text_chars` alone, not on the batch it
    comes in. Cost: about twenty microseconds per kilobyte of text in batches of hundreds; memory:
    a few megabytes whatever the size of a prompt.
    """

    def __init__(self, key: bytes, *, text_chars: int = 8192) -> None:
        require(len(key) > 0, "observe: the key is empty; set hash_key")
        require(text_chars >= 1, f"observe: {text_chars=} must be >= 1")
        secret = hashlib.blake2b(key, person=b"observer", digest_size=32).digest()
        self._key = secret
        self._text_chars = text_chars
        self._hasher = WordHasher(secret)
        self._marks = marks.MarkFinder(self._hasher)
        self._sketcher = TopicSketcher(self._hasher, secret)
        self._fields = FieldReader(secret)
        self._compress = zstandard.ZstdCompressor(level=1, write_content_size=False).compress
        self._systems: dict[str, tuple[int, int]] = {}
        parts = (ROW_VERSION, FEATURE_VERSION, marks.VERSION, text_chars, zstandard.ZSTD_VERSION)
        self.fingerprint: str = hashlib.blake2b(
            repr(parts).encode(), key=secret, person=b"fingerprint", digest_size=8
        ).hexdigest()
        """Names how rows were made; equal fingerprints give comparable rows. Does not reveal the key."""

    def observe(self, events: Sequence[RequestEvent]) -> np.ndarray[Any, Any]:
        """Rows of some events, shape (n,), dtype `ROW`; `partition` and `offset` are left 0."""
        rows = np.zeros(len(events), dtype=ROW)
        start = 0
        texts = [select(event.messages, self._text_chars) for event in events]
        encoded = [text.new.encode("utf-8", "surrogatepass") for text in texts]
        while start < len(events):
            stop, size = start, 0
            while stop < len(events) and (stop == start or size + len(encoded[stop]) <= _BATCH_BYTES):
                size += len(encoded[stop])
                stop += 1
            self._text_columns(rows[start:stop], texts[start:stop], encoded[start:stop])
            start = stop
        self._field_columns(rows, events)
        return rows

    def _field_columns(self, rows: np.ndarray[Any, Any], events: Sequence[RequestEvent]) -> None:
        read = self._fields.read
        flags = rows["flags"].copy()
        for name, column in zip(COLUMNS, zip(*map(read, events), strict=True), strict=True):
            rows[name] = column
        rows["flags"] |= flags
        rows["time_ms"] = rows["order_ms"] = [event.time_ms for event in events]

    def _text_columns(self, rows: np.ndarray[Any, Any], texts: list[Text], encoded: list[bytes]) -> None:
        count = len(texts)
        data, starts, ends = _join(encoded)
        words = self._hasher.words(data, starts, ends)
        stats = shape(data, starts, ends)
        sketch, near, bucket = self._sketcher.sketch(words, count)
        rows["sketch"] = np.ascontiguousarray(sketch).view("V64").ravel()
        rows["vocabulary"] = np.ascontiguousarray(self._sketcher.vocabulary(words, count)).view("V32").ravel()
        empty = words.per_text == 0
        rows["simhash"] = np.where(empty, np.uint64(0), near)
        rows["bucket"] = bucket
        masked = np.where(words.number, self._hasher.number, words.hashes)
        rows["prefix"], rows["suffix"] = _edges(masked, words)
        rows["layout"] = _layout(masked, words, data)
        found = self._marks.find(words, count)
        systems = [self._system(text.system) for text in texts]
        rows["system"] = [hashed for hashed, _ in systems]
        rows["marks"] = found | np.array([bits for _, bits in systems], dtype=np.int64)
        rows["words"] = words.per_text
        rows["chars"] = [min(text.chars, 0xFFFFFFFF) for text in texts]
        rows["turns"] = [min(text.turns, 0xFFFF) for text in texts]
        rows["role"] = [text.role for text in texts]
        rows["flags"] = [
            (FLAG_SYSTEM if text.system else 0) | (FLAG_TRUNCATED if text.chars > self._text_chars else 0)
            for text in texts
        ]
        rows["prompt"] = [keyed(self._key, "prompt", value) if value else 0 for value in encoded]
        rows["entropy"] = stats.entropy
        rows["digits"], rows["capitals"] = stats.digits, stats.capitals
        rows["symbols"], rows["newlines"] = stats.symbols, stats.newlines
        compress = self._compress
        rows["compression"] = [
            len(compress(value[:_COMPRESSED_BYTES])) / min(len(value), _COMPRESSED_BYTES) if value else np.nan
            for value in encoded
        ]

    def _system(self, system: str) -> tuple[int, int]:
        """Hash and marks of instructions; an application sends the same ones with every request."""
        if not system:
            return 0, 0
        known = self._systems.get(system)
        if known is None:
            data, starts, ends = _join([system[:SYSTEM_CHARS].encode("utf-8", "surrogatepass")])
            words = self._hasher.words(data, starts, ends)
            known = (
                keyed(self._key, "system", system.encode("utf-8", "surrogatepass")),
                int(self._marks.find(words, 1)[0]),
            )
            if sum(map(len, self._systems)) + len(system) > 1 << 22:
                self._systems.clear()
            self._systems[system] = known
        return known


def _join(texts: list[bytes]) -> tuple[Any, Ints, Ints]:
    """One byte array of all texts, each followed by a zero byte, with their starts and ends."""
    sizes = np.array([len(text) for text in texts], dtype=np.int64)
    ends = np.cumsum(sizes + 1) - 1
    return np.frombuffer(b"\0".join([*texts, b""]), dtype=np.uint8), ends - sizes, ends


def _edges(masked: U64, words: Words) -> tuple[U64, U64]:
    """Hashes of the first and of the last four words of each text; 0 for texts without words."""
    texts = len(words.per_text)
    first, last = np.zeros(texts, dtype=np.uint64), np.zeros(texts, dtype=np.uint64)
    if len(masked):
        for step in range(_EDGE_WORDS):
            has = np.flatnonzero(words.per_text > step)
            head = words.first[has] + step
            tail = words.first[has] + words.per_text[has] - 1 - step
            first[has] = chain(first[has], masked[head])
            last[has] = chain(last[has], masked[tail])
    return first, last


def _layout(masked: U64, words: Words, data: Any) -> U64:
    """Hash of the first words of the first sixteen lines of each text; 0 for texts without words."""
    texts = len(words.per_text)
    result = np.zeros(texts, dtype=np.uint64)
    if not len(masked):
        return result
    line = np.cumsum(data == 10)[words.start]
    opens = np.ones(len(masked), dtype=bool)
    opens[1:] = (line[1:] != line[:-1]) | (words.text[1:] != words.text[:-1])
    at = np.flatnonzero(opens)
    owner = words.text[at]
    count = np.bincount(owner, minlength=texts)
    first = np.concatenate(([0], np.cumsum(count)[:-1]))
    for step in range(min(_LAYOUT_LINES, int(count.max()))):
        has = np.flatnonzero(count > step)
        result[has] = chain(result[has], masked[at[first[has] + step]])
    return result
