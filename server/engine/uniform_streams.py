"""The random streams of the running sequences, computed ahead so that a chunk needs one array gather."""

import numpy as np
from numpy.typing import NDArray

from runtime.philox import DRAWS_PER_BLOCK, uniforms

_DRAWS_AHEAD = 512
"""Draws computed at once for a slot, beside those of one chunk. NumPy needs 75 us for 512 draws and 70 us for 8, and
with 512 most sequences need one computation."""


class UniformStreams:
    """A window of each slot's uniform random numbers.

    Args:
        slots: number of slots.
        longest_chunk: most steps of a chunk.
    """

    def __init__(self, slots: int, longest_chunk: int) -> None:
        # A window starts at a block, up to three draws early, and the last chunk may reach past a sequence's end.
        self._window = _DRAWS_AHEAD + longest_chunk + DRAWS_PER_BLOCK
        self._steps = np.arange(longest_chunk)
        self._seeds = np.zeros(slots, np.uint64)
        self._streams = np.zeros(slots, np.uint32)
        self._begin = np.zeros(slots, np.int64)  # the step of a window's first draw
        self._draws = np.zeros((slots, self._window), np.float32)

    def start(self, slot: int, seed: int, stream: int = 0) -> None:
        """Start a stream of a seed in a slot."""
        self._seeds[slot] = seed
        self._streams[slot] = stream
        self._begin[slot] = -self._window  # an empty window

    def take(self, rows: NDArray[np.intp], first_step: NDArray[np.int64], steps: int) -> NDArray[np.float32]:
        """Return the draws of `steps` steps.

        Args:
            rows: (batch,), slots.
            first_step: (batch,), the step of each row's first draw. It may go back.
            steps: number of steps.

        Returns:
            (batch, steps), in [0, 1).
        """
        columns = first_step - self._begin[rows]
        used_up = (columns > self._window - steps) | (columns < 0)
        if np.count_nonzero(used_up):
            self._refill(rows[used_up], first_step[used_up])
            columns = first_step - self._begin[rows]
        places = (rows * self._window + columns)[:, None] + self._steps[:steps]
        return self._draws.reshape(-1)[places]  # takes half the time of an index with rows and columns

    def _refill(self, rows: NDArray[np.intp], first_step: NDArray[np.int64]) -> None:
        begin = first_step - first_step % DRAWS_PER_BLOCK
        self._begin[rows] = begin
        self._draws[rows] = uniforms(self._seeds[rows], begin, self._window, self._streams[rows])
