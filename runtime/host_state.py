"""The state of all slots in the host's memory."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.state import by_slot, slot_axis

_NOT_GATHERED: Final = -1


class HostState:
    """Arrays with a row for each slot.

    The rows of the last run stay as the run returned them until other rows are gathered. So while the same rows run,
    the outputs of one run are the inputs of the next, and nothing is copied. The inputs of the last run stay as well,
    for `read_before`.

    Args:
        arrays: by name, (slots, ...), or (layers, slots, ...) for h and c; owned by this object from now on.
        slots: number of slots.
    """

    def __init__(self, arrays: dict[str, NDArray[Any]], slots: int) -> None:
        self._arrays = arrays
        self._rows: NDArray[np.intp] = np.zeros(0, np.intp)
        self._places = np.full(slots, _NOT_GATHERED, np.intp)  # of each slot in `_rows`
        self._gathered: dict[str, NDArray[Any]] = {}  # of `_rows`, newer than the arrays
        self._rows_before = self._rows
        self._before: dict[str, NDArray[Any]] = {}  # of `_rows_before`, the inputs of the last run

    def write(self, slot: int, values: Mapping[str, Any]) -> None:
        """Overwrite all values of a slot."""
        assert values.keys() == self._arrays.keys()
        place = self._places[slot]
        arrays, index = (self._arrays, slot) if place == _NOT_GATHERED else (self._gathered, place)
        for name, value in values.items():
            by_slot(name, arrays[name])[index] = value

    def read(self, slot: int) -> dict[str, NDArray[Any]]:
        """A copy of a slot's values, by name."""
        place = self._places[slot]
        arrays, index = (self._arrays, slot) if place == _NOT_GATHERED else (self._gathered, place)
        return {name: by_slot(name, values)[index].copy() for name, values in arrays.items()}

    def read_before(self, slot: int) -> dict[str, NDArray[Any]]:
        """A copy of the values that a slot had before the last run, in which it must have been."""
        (places,) = np.nonzero(self._rows_before == slot)
        assert places.size, f"slot {slot} was not in the last run"
        return {name: by_slot(name, values)[places[0]].copy() for name, values in self._before.items()}

    def rewind(self, slots: NDArray[np.intp]) -> None:
        """Overwrite all values of some slots (n,) with those before the last run, in which they must have been."""
        assert self._rows is self._rows_before, "other rows were gathered since the last run"
        places = self._places[slots]
        assert (places != _NOT_GATHERED).all(), f"slots {slots.tolist()} were not all in the last run"
        for name, values in self._gathered.items():
            by_slot(name, values)[places] = by_slot(name, self._before[name])[places]

    def copy(self, sources: NDArray[np.intp], targets: NDArray[np.intp]) -> None:
        """Overwrite all values of the targets (n,) with those of the sources (n,), which are read first."""
        from_places, to_places = self._places[sources], self._places[targets]
        gathered_sources, gathered_targets = from_places != _NOT_GATHERED, to_places != _NOT_GATHERED
        for name, array in self._arrays.items():
            rows = by_slot(name, array)
            if not gathered_targets.any() and not gathered_sources.any():
                rows[targets] = rows[sources]
                continue
            gathered = by_slot(name, self._gathered[name])
            if gathered_sources.all():
                values = gathered[from_places]
            else:
                values = rows[sources]
                values[gathered_sources] = gathered[from_places[gathered_sources]]
            if gathered_targets.all():
                gathered[to_places] = values
            else:
                rows[targets] = values  # harmless for a gathered target, whose place in the arrays is out of date
                gathered[to_places[gathered_targets]] = values[gathered_targets]

    def gather(self, rows: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
        """The state of some slots (n,), in their order, as inputs of a run.

        Args:
            rows: each slot once; the array must not change afterwards.
        """
        if rows is not self._rows and not np.array_equal(rows, self._rows):
            self._scatter()
            self._rows = rows
            self._places[rows] = np.arange(len(rows))
            self._gathered = {
                name: np.take(values, rows, axis=slot_axis(name)) for name, values in self._arrays.items()
            }
        return self._gathered

    def update(self, values: Sequence[NDArray[Any]]) -> None:
        """Store the outputs of a run for the rows gathered last, in the order of their names."""
        self._rows_before, self._before = self._rows, self._gathered
        self._gathered = dict(zip(self._gathered, values, strict=True))

    def _scatter(self) -> None:
        for name, values in self._gathered.items():
            by_slot(name, self._arrays[name])[self._rows] = by_slot(name, values)
        self._places[self._rows] = _NOT_GATHERED
        self._rows, self._gathered = self._rows[:0], {}
