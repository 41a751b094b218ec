"""The state of all slots in the host's memory."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_LAYERED: Final = ("h", "c")
"""Arrays whose slots lie along the second axis, after the layers."""


class HostState:
    """Arrays with a row for each slot. The rows that ran last stay as the run left them until others are asked for.

    So while the same rows run, chunk after chunk, what one run gives the next one takes, and nothing is copied.

    Args:
        arrays: by name, (slots, ...), or (layers, slots, ...) for h and c; they are this object's from now on.
    """

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self._arrays = arrays
        self._rows: NDArray[np.intp] = np.zeros(0, np.intp)
        self._taken: dict[str, NDArray[Any]] = {}  # of `_rows`, newer than what the arrays have

    def put(self, slot: int, values: Mapping[str, Any]) -> None:
        """Overwrite a slot's values, all of them."""
        assert values.keys() == self._arrays.keys()
        places = np.flatnonzero(self._rows == slot)
        arrays, index = (self._taken, places) if places.size else (self._arrays, slot)
        for name, value in values.items():
            by_slot(name, arrays[name])[index] = value

    def of(self, slot: int) -> dict[str, NDArray[Any]]:
        """A copy of a slot's values, by name."""
        self._settle()
        return {name: by_slot(name, values)[slot].copy() for name, values in self._arrays.items()}

    def take(self, rows: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
        """The state of some slots (n,), in their order, as a run takes it.

        Args:
            rows: each once; nobody changes the array any more.
        """
        if rows is not self._rows and not np.array_equal(rows, self._rows):
            self._settle()
            self._rows = rows
            self._taken = {name: np.take(values, rows, axis=slot_axis(name)) for name, values in self._arrays.items()}
        return self._taken

    def advance(self, values: Sequence[NDArray[Any]]) -> None:
        """Take what a run has made of the rows taken last, in the order of their names."""
        self._taken = dict(zip(self._taken, values, strict=True))

    def _settle(self) -> None:
        for name, values in self._taken.items():
            by_slot(name, self._arrays[name])[self._rows] = by_slot(name, values)
        self._rows, self._taken = self._rows[:0], {}


def slot_axis(name: str) -> int:
    """Along which axis the slots of an array of this name lie."""
    return int(name in _LAYERED)


def by_slot(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """An array with the slots along its first axis."""
    return values.swapaxes(0, slot_axis(name))
