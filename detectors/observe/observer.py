"""Request events to observation rows: the only code that reads prompts."""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import zstandard

from detectors.errors import require
from detectors.events import RequestEvent
from detectors.observation import FLAG_SYSTEM, FLAG_TRUNCATED, ROW, ROW_VERSION
from detectors.observe import frames, marks
from detectors.observe.fields import FieldReader, keyed
from detectors.observe.purpose import NO_PURPOSES, PurposeModel, PurposeReader
from detectors.observe.shape import ShapeReader
from detectors.observe.text import Text, select
from detectors.observe.topics import TopicSketcher
from detectors.observe.words import WordHasher, join

FEATURE_VERSION = 4
"""Raised by whatever changes a number or hash in a row for the same event and key."""

_COMPRESSED_BYTES = 2048  # of each text: enough to tell word salad from prose, at a bounded cost
_SYSTEM_CHARS = 1024  # of instructions that are searched for marks; what matters stands at their beginning
_SYSTEMS = 50_000  # hashes of instructions whose marks are remembered
_BATCH_BYTES = 1 << 16  # texts worked on together; larger arrays fall out of the processor's cache
_BATCH_TEXTS = 256
_LARGER_THAN_ANY = 1 << 22  # bytes; arrays of a usual batch have half a megabyte
_FAR_MS = 1 << 62


class Observer:
    """Turns request events into packed observations.

    Parameters
    ----------
    key : bytes
        Secret that keys every hash and projection; at least one byte.
    text_chars : int
        Characters of new text read of an exchange, >= 1. Longer texts are cut and flagged.
    purposes : PurposeModel, optional
        Learned weights, from a profile; without, every purpose is unknown.

    Notes
    -----
    The row of an event depends on the event, the key and `text_chars` alone, not on the batch it
    comes in. Cost: about ten times that of decoding the event, in batches of hundreds; memory: a
    few megabytes whatever the size of a prompt. No text is kept from one call to the next.
    """

    def __init__(self, key: bytes, *, text_chars: int = 8192, purposes: PurposeModel = NO_PURPOSES) -> None:
        require(len(key) > 0, "observe: the key is empty; set hash_key")
        require(text_chars >= 1, f"observe: {text_chars=} must be >= 1")
        secret = hashlib.blake2b(key, person=b"observer", digest_size=32).digest()
        self._text_chars = text_chars
        self._hasher = WordHasher(secret)
        self._frames = frames.FrameReader(secret, self._hasher.number)
        self._marks = marks.MarkFinder(self._hasher)
        self._sketcher = TopicSketcher(self._hasher, secret)
        self._purposes = PurposeReader(purposes)
        self._shapes = ShapeReader()
        self._fields = FieldReader(secret)
        self._prompt, self._system = keyed(secret, "prompt"), keyed(secret, "system")
        self._compress = zstandard.ZstdCompressor(level=1, write_content_size=False).compress
        self._system_marks: dict[int, int] = {}
        # glibc gives the memory of large arrays back to the system at every free, and faults it in again
        # at the next use, until it has seen a larger one freed. That costs a quarter of the time here.
        np.empty(_LARGER_THAN_ANY, dtype=np.uint8)
        # What decides a row besides the event. Compressed sizes may differ between versions of the library.
        parts = (ROW_VERSION, FEATURE_VERSION, marks.VERSION, text_chars, zstandard.ZSTD_VERSION, purposes)
        self.fingerprint: str = hashlib.blake2b(
            repr(parts).encode(), key=secret, person=b"fingerprint", digest_size=8
        ).hexdigest()
        """Names how rows were made; equal fingerprints give comparable rows. Does not reveal the key."""

    def observe(self, events: Sequence[RequestEvent]) -> np.ndarray[Any, Any]:
        """Rows of some events, shape (n,), dtype `ROW`; `partition` and `offset` are left 0."""
        rows = np.zeros(len(events), dtype=ROW)
        if not len(events):
            return rows
        start, size = 0, 0
        texts: list[Text] = []
        encoded: list[bytes] = []
        for at, event in enumerate(events):
            text = select(event.messages, self._text_chars)
            value = _encoded(text.new)
            if texts and (size + len(value) > _BATCH_BYTES or len(texts) == _BATCH_TEXTS):
                self._read_texts(texts, encoded, rows[start:at])
                start, size, texts, encoded = at, 0, [], []
            size += len(value)
            texts.append(text)
            encoded.append(value)
        self._read_texts(texts, encoded, rows[start:])
        rows["messages"] = [min(len(event.messages), 0xFFFF) for event in events]
        rows["time_ms"] = rows["order_ms"] = [min(event.time_ms, _FAR_MS) for event in events]
        self._fields.fill(events, rows)
        return rows

    def _read_texts(self, texts: list[Text], encoded: list[bytes], rows: np.ndarray[Any, Any]) -> None:
        """Fill in all that comes from the text of messages."""
        joined = join(encoded)
        words = self._hasher.words(joined)
        openers = frames.openers(words, joined)
        rows["words"] = words.per_text
        rows["prefix"], rows["suffix"], rows["layout"] = self._frames.read(words, openers)
        topics = self._sketcher.sketch(words)
        rows["simhash"], rows["bucket"] = topics.near, topics.bucket
        rows["sketch"] = topics.sketch.view(ROW["sketch"]).ravel()
        rows["vocabulary"] = self._sketcher.vocabulary(words).view(ROW["vocabulary"]).ravel()
        rows["purpose"] = self._purposes.read(words, joined).view(ROW["purpose"]).ravel()
        shape = self._shapes.read(joined)
        for field, values in zip(shape._fields, shape, strict=True):
            rows[field] = values
        systems, system_marks = self._read_systems(texts)
        rows["system"] = systems
        rows["marks"] = self._marks.find(words, openers) | system_marks

        rows["prompt"] = [self._prompt(value) if value else 0 for value in encoded]
        compress, limit = self._compress, _COMPRESSED_BYTES
        rows["compression"] = [
            len(compress(value if len(value) <= limit else value[:limit])) / min(len(value), limit)
            if value
            else math.nan
            for value in encoded
        ]
        rows["chars"] = [min(text.chars, 0xFFFFFFFF) for text in texts]
        rows["turns"] = [min(text.turns, 0xFFFF) for text in texts]
        rows["role"] = [text.role for text in texts]
        rows["flags"] = [
            (FLAG_SYSTEM if text.system else 0) | (FLAG_TRUNCATED if text.chars > self._text_chars else 0)
            for text in texts
        ]

    def _read_systems(self, texts: list[Text]) -> tuple[list[int], list[int]]:
        """Hashes and marks of instructions. An application sends the same ones with every request."""
        hashes = [self._system(_encoded(text.system)) if text.system else 0 for text in texts]
        known = self._system_marks
        unknown = {
            hashed: _encoded(text.system[:_SYSTEM_CHARS])
            for hashed, text in zip(hashes, texts, strict=True)
            if hashed and hashed not in known
        }
        if unknown:
            joined = join(list(unknown.values()))
            words = self._hasher.words(joined)
            found = self._marks.find(words, frames.openers(words, joined))
            known.update(zip(unknown, found.tolist(), strict=True))
        bits = [known[hashed] if hashed else 0 for hashed in hashes]
        if len(known) > _SYSTEMS:
            known.clear()
        return hashes, bits


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
