"""The state of all slots in a device's memory: two sets of arrays, used alternately."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from music.bundle import Bundle
from music.graph_names import NEXT
from runtime.row_graph import ROWS, SOURCE, SlotArray, row_graph
from runtime.session import onnxruntime, open_session
from runtime.state import StateArrays, by_slot, initial_state, slot_axis, stack_slots


@dataclass(frozen=True, slots=True)
class Device:
    """The device that holds the arrays and runs the graphs."""

    name: Literal["cpu", "cuda"]
    """ONNX Runtime's name of the device; also the provider of its sessions."""

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        """An uninitialised array in the device's memory. Its address never changes."""
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(list(shape), np.dtype(dtype).type, self.name, 0)

    def copy(self, values: NDArray[Any]) -> Any:
        """An array in the device's memory with a copy of these values. Its address never changes."""
        array = self.empty(values.shape, values.dtype)
        array.update_inplace(values)
        return array


class DeviceState:
    """Two sets of state arrays on the device, and the rows that wait on the host.

    A chunk reads one set and writes the other; `swap` then makes the other one current. So nothing is copied, and since
    a run never writes what it reads, repeating it changes nothing. Capturing a CUDA graph repeats a run.

    All slots run in every chunk, so the rows of slots outside the chunk change as well. A row on the device is
    therefore valid (*resident*) only while its slot runs in every chunk. A slot's new state waits on the host
    (`stage`), through any number of chunks, until the slot's next chunk (`load`). The row of a slot that skips a chunk
    is lost, unless it was read and staged before. `load` asserts that no lost row runs.

    One run of a small graph (`row_graph`) writes all waiting rows and all copies of rows (`copy`), from one set into
    the other. It sends the waiting rows and moves the set within the device's memory, out and back: h and c of 256
    slots, 2 layers and 256 units are 1 MiB, the past of the notes is 13 MiB. The same run resets all idle rows to the
    start state, because a row that runs on forever would get indices outside its tables.

    Args:
        bundle: whose state it is.
        slots: rows of each set.
        device: where the sets are.
    """

    def __init__(self, bundle: Bundle, slots: int, device: Device) -> None:
        self.start: StateArrays = initial_state(bundle)
        """A slot's state before its first token, with position index 0; h and c (layers, hidden)."""
        self._slots = slots
        self.sets = [self._make_set(device) for _ in range(2)]
        """Both sets, by name of the input; their addresses never change."""
        self.side = 0
        """Index of the current set."""
        self._staged: dict[int, StateArrays] = {}
        self._resident: set[int] = set()
        self._origins: dict[int, int] = {}  # of resident slots: the row that `load` copies to the slot
        self._rows: NDArray[np.intp] | None = None  # of the last chunk
        self._stale = False
        graph = row_graph(
            {name: SlotArray(values.shape, values.dtype, slot_axis(name)) for name, values in self.initial().items()}
        )
        session = open_session(bundle, "the graph that writes rows", provider=device.name, threads=1, graph=graph)
        self._session = session
        self._bindings = [self._make_binding(session, side) for side in range(2)]

    def stage(self, slot: int, row: StateArrays) -> None:
        """Set the state of a slot for the next chunk that contains the slot."""
        self._staged[slot] = row
        self._origins.pop(slot, None)
        self._stale = self._stale or slot in self._resident

    def copy(self, sources: list[int], targets: list[int]) -> None:
        """Set the state of each target to the present state of its source, for the next chunk that contains it."""
        staged = [self._staged.get(source) for source in sources]
        origins = [self._origin(source) if row is None else None for source, row in zip(sources, staged, strict=True)]
        for target, row, origin in zip(targets, staged, origins, strict=True):
            if row is not None:
                self.stage(target, row)
            elif origin is not None:
                self._staged.pop(target, None)
                self._origins[target] = origin
                self._resident.add(target)
                self._stale = True

    def row(self, slot: int) -> StateArrays:
        """A copy of the present state of a slot."""
        staged = self._staged.get(slot)
        if staged is not None:
            return {name: np.array(value) for name, value in staged.items()}
        return self._read_row(self.side, self._origin(slot))

    def row_before(self, slot: int) -> StateArrays:
        """A copy of the state that a slot had before the last chunk, in which it must have been."""
        assert self._rows is not None
        assert slot in self._rows, f"slot {slot} was not in the last chunk"
        return self._read_row(1 - self.side, slot)

    def rewind(self, slots: list[int]) -> None:
        """Set the state of some slots to the one before the last chunk, for the next chunk that contains them."""
        before = self.read(1 - self.side)
        for slot in slots:
            assert self._rows is not None
            assert slot in self._rows, f"slot {slot} was not in the last chunk"
            self.stage(slot, {name: by_slot(name, values)[slot].copy() for name, values in before.items()})

    def load(self, rows: NDArray[np.intp]) -> None:
        """Make the rows of the next chunk resident. All other rows are lost, except those that are staged."""
        if rows is self._rows and not self._stale:
            return
        new = [slot for slot in rows.tolist() if slot in self._staged]
        kept = set(rows.tolist()).difference(new)
        assert kept <= self._resident, f"slots {sorted(kept - self._resident)} skipped a chunk and were not reset"
        if new or self._origins:
            self._write(new, sorted(kept))
            self._origins.clear()
        self._resident, self._rows, self._stale = kept.union(new), rows, False

    def swap(self) -> None:
        """Make the other set current: a chunk has run from the current set into it."""
        self.side = 1 - self.side

    def bind(self, binding: Any, side: int) -> None:
        """Bind a graph's inputs to one set and its outputs to the other."""
        for name, value in self.sets[side].items():
            binding.bind_ortvalue_input(name, value)
        for name, value in self.sets[1 - side].items():
            binding.bind_ortvalue_output(name + NEXT, value)

    def read(self, side: int) -> dict[str, NDArray[Any]]:
        """Copy a whole set to the host."""
        return {name: np.array(value.numpy()) for name, value in self.sets[side].items()}

    def overwrite(self, side: int, values: Mapping[str, NDArray[Any]]) -> None:
        """Fill a whole set."""
        for name, value in values.items():
            self.sets[side][name].update_inplace(value)

    def initial(self) -> dict[str, NDArray[Any]]:
        """A whole set in which every slot has the start state."""
        return stack_slots(self.start, self._slots)

    def _write(self, new: list[int], kept: list[int]) -> None:
        rows: list[StateArrays] = [self.start, *(self._staged[slot] for slot in new)]
        source = np.full(self._slots, self._slots, np.int64)  # the first new row, the start state
        source[kept] = [self._origins.get(slot, slot) for slot in kept]
        source[new] = self._slots + 1 + np.arange(len(new))
        sent = {SOURCE: source}  # kept alive until the run is over: a binding may point into an array's memory
        for name in self.start:
            sent[name + ROWS] = np.ascontiguousarray(np.stack([row[name] for row in rows], slot_axis(name)))
        binding = self._bindings[self.side]
        for name, values in sent.items():
            binding.bind_cpu_input(name, values)
        self._session.run_with_iobinding(binding)
        self.swap()
        for slot in new:
            del self._staged[slot]

    def _origin(self, slot: int) -> int:
        """The row of the current set that holds the present state of a slot that is not staged."""
        assert slot in self._resident, f"slot {slot} has no state: it skipped a chunk and was not held"
        return self._origins.get(slot, slot)

    def _read_row(self, side: int, row: int) -> StateArrays:
        return {name: by_slot(name, value.numpy())[row].copy() for name, value in self.sets[side].items()}

    def _make_binding(self, session: Any, side: int) -> Any:
        binding = session.io_binding()
        self.bind(binding, side)
        return binding

    def _make_set(self, device: Device) -> dict[str, Any]:
        return {name: device.copy(values) for name, values in self.initial().items()}
