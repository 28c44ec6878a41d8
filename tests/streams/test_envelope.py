"""Sealed state comes back exactly, and damaged or foreign records are refused with a reason."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.errors import StateError
from streams.envelope import last_ms_of, seal, unseal

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.binary()
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(plain, st.integers(0, 2**50))
def test_round_trip(body, last_ms):
    record = seal(last_ms, body)
    assert unseal(record) == body
    assert last_ms_of(record) == last_ms


@given(st.data())
def test_any_changed_byte_of_the_body_is_noticed(data):
    record = bytearray(seal(5, {"a": [1, 2.5, b"xyz"]}))
    at = data.draw(st.integers(16, len(record) - 1))
    record[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(StateError, match="damaged"):
        unseal(bytes(record))


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (b"", "shorter"),
        (seal(1, [1])[:10], "shorter"),
        (seal(1, [1])[:-1], "damaged"),
        (b"\x80" + pickle.dumps([1]) + b"x" * 20, "not written by this program"),
        (seal(1, [1])[:3] + b"\x09" + seal(1, [1])[4:], "version 9"),
    ],
)
def test_refused(record, said):
    with pytest.raises(StateError, match=said):
        unseal(record)
