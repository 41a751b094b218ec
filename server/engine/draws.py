"""The random streams of the running sequences, drawn well ahead so that a chunk takes one gather."""

import numpy as np
from numpy.typing import NDArray

from server.engine.philox import DRAWS_PER_BLOCK, uniforms

_AHEAD = 512
"""Draws for each slot beside those of a chunk: in NumPy, 512 cost 75 us and 8 cost 70, so most pieces draw but once."""


class Draws:
    """A window on each slot's random stream."""

    def __init__(self, slots: int, longest_chunk: int) -> None:
        # A window begins with a block, up to three draws early, and the last chunk may reach past a piece's end.
        self._window = _AHEAD + longest_chunk + DRAWS_PER_BLOCK
        self._steps = np.arange(longest_chunk)
        self._seeds = np.zeros(slots, np.uint64)
        self._begin = np.zeros(slots, np.int64)  # the step that a window's first draw belongs to
        self._draws = np.zeros((slots, self._window), np.float32)

    def open(self, slot: int, seed: int) -> None:
        """Begin the seed's stream in the slot."""
        self._seeds[slot] = seed
        self._begin[slot] = -self._window  # nothing drawn yet

    def take(self, rows: NDArray[np.intp], first_step: NDArray[np.int64], steps: int) -> NDArray[np.float32]:
        """Take the draws of steps `first_step` (width,) onwards: (width, steps), in [0, 1)."""
        columns = first_step - self._begin[rows]
        spent = columns > self._window - steps
        if np.count_nonzero(spent):
            self._refill(rows[spent], first_step[spent])
            columns = first_step - self._begin[rows]
        taken: NDArray[np.float32] = self._draws[rows[:, None], columns[:, None] + self._steps[:steps]]
        return taken

    def _refill(self, rows: NDArray[np.intp], first_step: NDArray[np.int64]) -> None:
        begin = first_step - first_step % DRAWS_PER_BLOCK
        self._begin[rows] = begin
        self._draws[rows] = uniforms(self._seeds[rows], begin, self._window)
