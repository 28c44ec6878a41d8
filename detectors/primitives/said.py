"""Remembers, in cells, which prompts an account sent before."""

from typing import Any

from detectors.errors import StateError
from detectors.primitives import plain

_CELLS = 1024
_CELL_BYTES = _CELLS // 8


class PromptCells:
    """Tells new prompts from those sent before, by one bit per cell of prompts.

    Notes
    -----
    A prompt sent before is always known. A new one passes for known with the share of bits set, two in five
    after 512 different ones and three in five after 1,024: what learns from new prompts only learns from a
    sample of them. State: 128 bytes. Cost: O(1).

    Examples
    --------
    >>> said = PromptCells()
    >>> said.add(977), said.add(977), said.add(978)
    (True, False, True)
    """

    __slots__ = ("_bits",)

    def __init__(self) -> None:
        self._bits = bytes(_CELL_BYTES)  # all accounts share it until they send a text

    def add(self, prompt: int) -> bool:
        """Remember a prompt by its hash; whether it was new. 0, for none, is always new."""
        if not prompt:
            return True
        bits, at, bit = self._bits, prompt // 8 % _CELL_BYTES, 1 << prompt % 8
        if bits[at] & bit:
            return False
        self._bits = b"%b%c%b" % (bits[:at], bits[at] | bit, bits[at + 1 :])
        return True

    def snapshot(self) -> bytes:
        """The bits."""
        return self._bits

    def restore(self, state: Any) -> None:
        """Replace the state by a snapshot's; raises `StateError`."""
        bits = plain.raw(state, _CELL_BYTES, "said")
        if len(bits) != _CELL_BYTES:
            raise StateError(f"said: saved value must be {_CELL_BYTES} bytes")
        self._bits = bits
