"""The biases of the running sequences: one table of rows, each stored once."""

import heapq
from typing import Final

import numpy as np
from numpy.typing import NDArray

from music.composition.guide import NO_BIAS

_INITIAL_CAPACITY: Final = 8  # rows


class BiasTable:
    """Rows of biases with reference counts. Equal rows are stored once. Row `NO_BIAS` is zero and always there.

    The capacity doubles when the table is full, and never shrinks. A row without references keeps its values until
    another row takes its place.

    Args:
        vocabulary: length of a row.
    """

    def __init__(self, vocabulary: int) -> None:
        self._array = np.zeros((_INITIAL_CAPACITY, vocabulary), np.float32)
        self._index_by_row: dict[bytes, int] = {self._array[NO_BIAS].tobytes(): NO_BIAS}
        self._references = np.zeros(_INITIAL_CAPACITY, np.int64)
        self._references[NO_BIAS] = 1
        self._free = list(range(1, _INITIAL_CAPACITY))  # a heap
        self._rows = self._view()

    def __len__(self) -> int:
        """Number of different rows that are in use, with `NO_BIAS`."""
        return len(self._index_by_row)

    @property
    def rows(self) -> NDArray[np.float32]:
        """The table, (capacity, vocabulary), read-only. It is another object after a row has changed."""
        return self._rows

    def add(self, row: NDArray[np.float32]) -> int:
        """Refer to a row (vocabulary,), and return its index in the table. Each `add` needs one `release`."""
        assert row.dtype == np.float32
        assert row.shape == self._array.shape[1:]
        row = row + np.float32(0)  # -0.0 becomes 0.0, so that equal rows have equal bytes
        key = row.tobytes()
        index = self._index_by_row.get(key)
        if index is None:
            if not self._free:
                self._grow()
            index = self._index_by_row[key] = heapq.heappop(self._free)
            self._array[index] = row
            self._rows = self._view()
        self._references[index] += 1
        return index

    def release(self, index: int) -> None:
        """Give up one reference to a row."""
        assert self._references[index] > (index == NO_BIAS), f"bias row {index} is not in use"
        self._references[index] -= 1
        if not self._references[index]:
            del self._index_by_row[self._array[index].tobytes()]
            heapq.heappush(self._free, index)

    def _grow(self) -> None:
        capacity, vocabulary = self._array.shape
        array = np.zeros((2 * capacity, vocabulary), np.float32)
        array[:capacity] = self._array
        self._array = array
        self._references = np.concatenate([self._references, np.zeros(capacity, np.int64)])
        self._free = list(range(capacity, 2 * capacity))

    def _view(self) -> NDArray[np.float32]:
        view = self._array.view()
        view.setflags(write=False)
        return view
