"""How the tokens of each row are sampled, where no guide says something else."""

import numpy as np
from numpy.typing import NDArray

from music.composition.guide import NO_BIAS
from runtime.sampling import SamplingParams
from server.engine.bias_table import BiasTable


class SamplingRows:
    """Sampling parameters and the bias of the row of each slot.

    Args:
        slots: number of slots.
        biases: takes the bias rows.
    """

    def __init__(self, slots: int, biases: BiasTable) -> None:
        self._biases = biases
        self._temperature = np.ones(slots, np.float32)
        self._top_k = np.zeros(slots, np.int64)
        self._top_p = np.ones(slots, np.float32)
        self._bias = np.full(slots, NO_BIAS, np.int64)  # row of the bias table
        self.select(np.zeros(0, np.intp))

    def start(self, slot: int, sampling: SamplingParams, bias: NDArray[np.float32]) -> None:
        """Start a row with its bias (vocabulary,)."""
        self._temperature[slot] = sampling.temperature
        self._top_k[slot] = sampling.top_k
        self._top_p[slot] = sampling.top_p
        self._bias[slot] = self._biases.add(bias)

    def remove(self, slot: int) -> None:
        """Remove a row."""
        self._biases.release(int(self._bias[slot]))

    def select(self, rows: NDArray[np.intp]) -> None:
        """Gather the values of the rows of the next chunks, (rows,), as read-only arrays."""
        self.temperature, self.top_k, self.top_p = self._temperature[rows], self._top_k[rows], self._top_p[rows]
        self._bias_rows = self._bias[rows, None]
        self._bias_index: dict[int, NDArray[np.int64]] = {}  # by number of steps
        for shared in (self.temperature, self.top_k, self.top_p):
            shared.setflags(write=False)

    def bias_index(self, steps: int) -> NDArray[np.int64]:
        """Return the row of the bias table for each token of the next chunk, (rows, steps), read-only."""
        if steps not in self._bias_index:
            index = np.repeat(self._bias_rows, steps, axis=1)
            index.setflags(write=False)
            self._bias_index[steps] = index
        return self._bias_index[steps]
