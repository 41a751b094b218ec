"""The primers that are being read: many told tokens in one run, a slice of each primer in turn."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from server.engine.request import EngineRequest
from server.engine.runner import Runner

SLICE_TOKENS: Final = 32
"""Tokens that one run takes, counted from the primer's start; the last run takes what is left.

How tokens are divided into runs shows in the last bits of what a graph gives, so it is a constant: a function of the
request alone, never of the load. Longer slices read hardly faster: on a CPU, slices of 16, 32 and 64 tokens took 46,
43 and 42 us a token, two layers of 256. While one runs, everybody else's streams stand still.
"""
SHORTEST_TOKENS: Final = SLICE_TOKENS
"""Shorter primers are told to decode chunks, a token a step: that takes a few chunks, which run for others anyway."""


def primer_of(request: EngineRequest) -> NDArray[np.int64]:
    """The tokens (n,) to be read in slices before the sequence decodes; none where few are forced.

    A forced token that makes the sequence full is not among them: the step that takes it finishes the sequence.
    """
    told = np.array(request.forced[: request.max_tokens - 1], np.int64)
    if request.stop_token is not None:
        stops = np.flatnonzero(told == request.stop_token)
        if len(stops) >= request.stop_count:
            told = told[: stops[request.stop_count - 1]]
    return told if len(told) >= SHORTEST_TOKENS else told[:0]


@dataclass(frozen=True, slots=True)
class Slice:
    """What one run has read."""

    slot: int
    """Whose primer it was of."""
    tokens: int
    """How many it took."""
    complete: int
    """Length of the primer if this was its last slice, else 0."""


@dataclass(slots=True, eq=False)
class _Reading:
    length: int
    slices: Iterator[int]
    read: int = 0


class Primers:
    """Slots whose primer is not read to its end yet; they take turns."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._readings: dict[int, _Reading] = {}  # by slot, whose turn it is first

    @property
    def count(self) -> int:
        """Primers that are being read."""
        return len(self._readings)

    def add(self, slot: int, primer: NDArray[np.int64]) -> None:
        """Begin to read a primer, in a slot that was just reset."""
        assert slot not in self._readings
        self._readings[slot] = _Reading(len(primer), self._runner.prefill(slot, primer, SLICE_TOKENS))

    def remove(self, slot: int) -> bool:
        """Forget the slot's primer; whether there was one."""
        return self._readings.pop(slot, None) is not None

    def clear(self) -> None:
        """Forget every primer."""
        self._readings.clear()

    def read(self, slot: int) -> int:
        """Count the tokens read of the slot's primer; 0 if there is none."""
        reading = self._readings.get(slot)
        return 0 if reading is None else reading.read

    def read_slice(self) -> Slice:
        """Read one slice of the primer whose turn it is; there must be one."""
        slot = next(iter(self._readings))
        reading = self._readings[slot]
        tokens = next(reading.slices)
        reading.read += tokens
        assert 0 < tokens <= SLICE_TOKENS, f"{tokens} tokens of a primer were read at once"
        del self._readings[slot]
        if reading.read == reading.length:
            return Slice(slot, tokens, complete=reading.length)
        self._readings[slot] = reading  # to the end of the line
        return Slice(slot, tokens, complete=0)
