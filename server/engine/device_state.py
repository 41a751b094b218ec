"""The state of all slots in a device's memory: two sets of arrays that take turns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from music.bundle import Bundle
from server.engine.onnx_runner import initial_state, open_session
from server.engine.ort import onnxruntime
from server.engine.row_graph import NEXT, ROWS, SOURCE, Table, row_graph

Row = Mapping[str, NDArray[Any]]
"""One slot's state, by input of the decode graphs: h and c (layers, hidden), the others as `initial_state` has them."""


@dataclass(frozen=True, slots=True)
class Device:
    """Where arrays lie and graphs run."""

    name: Literal["cpu", "cuda"]
    """What ONNX Runtime calls it; also the provider that sessions are opened with."""

    def array(self, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        """An array in its memory, filled with what happens to be there, that keeps its address for good."""
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(list(shape), np.dtype(dtype).type, self.name, 0)

    def holding(self, values: NDArray[Any]) -> Any:
        """An array in its memory with a copy of these values."""
        array = self.array(values.shape, values.dtype)
        array.update_inplace(values)
        return array


class DeviceState:
    """Which rows of which set hold what.

    A chunk reads one set and writes the other, and `advanced` makes the other the one that counts. Nothing is copied
    for it; and as a run never writes what it reads, running it again, as capturing it as a CUDA graph does, changes
    nothing.

    All slots run in every chunk, so the rows of those that are not in it move on as well. A slot's row is therefore
    *here* only while it runs in every chunk: one that begins waits on the host (`put`), however many chunks pass, until
    the first chunk that it is in (`enter`), and one that sits out a chunk is gone. The engine asks for no more: who has
    left its batch never comes back without a `reset`, and who is in it runs in every chunk. `enter` asserts it.

    Rows that wait are written on the device by a graph of their own (`row_graph`), all in one run, from one set into
    the other. That sends what waits, and moves a set twice within the device's memory: h and c of 256 slots, 2 layers
    and 256 units are 1 MiB. The same run puts every idle row back to the start, so that none runs on forever; its
    numbers would leave what the tables were made for.
    """

    def __init__(self, bundle: Bundle, slots: int, device: Device) -> None:
        begin = np.zeros((bundle.network.layers, bundle.network.hidden), np.float32)
        self.start: Row = {"h": begin, "c": begin, **initial_state(bundle)}
        """Every slot's state before its first token; its clock row aside."""
        self._slots = slots
        self._axes = {name: 1 if name in ("h", "c") else 0 for name in self.start}
        self.sets = [self._filled(device) for _ in range(2)]
        """By name of the input, both sets; their addresses never change."""
        self.side = 0
        """Which of them counts."""
        self._waiting: dict[int, Row] = {}
        self._here: set[int] = set()
        self._rows: NDArray[np.intp] | None = None  # those of the last chunk
        self._stale = False
        tables = {}
        for name, value in self.start.items():
            tables[name] = Table(self._full_shape(name), value.dtype, self._axes[name])
        graph = row_graph(tables)
        session = open_session(bundle, "the graph that writes rows", provider=device.name, threads=1, changed=graph)
        self._session = session
        self._bindings = [self._bound(session, side) for side in range(2)]

    def put(self, slot: int, row: Row) -> None:
        """Let a slot begin with this state in the next chunk that it is in."""
        self._waiting[slot] = row
        self._stale = self._stale or slot in self._here

    def enter(self, rows: NDArray[np.intp]) -> None:
        """Bring about that the rows of the next chunk are here; the others' are lost, but for what waits."""
        if rows is self._rows and not self._stale:
            return
        entering = [slot for slot in rows.tolist() if slot in self._waiting]
        staying = set(rows.tolist()).difference(entering)
        assert staying <= self._here, f"slots {sorted(staying - self._here)} sat out a chunk and were not reset"
        if entering:
            self._write(entering, sorted(staying))
        self._here, self._rows, self._stale = staying.union(entering), rows, False

    def advanced(self) -> None:
        """Hear that a chunk has been run from the set that counts into the other one."""
        self.side = 1 - self.side

    def bind(self, binding: Any, side: int) -> None:
        """Let a graph read one set and write the other."""
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
        """A whole set in which every slot is at the start."""
        return {
            name: np.ascontiguousarray(np.stack([value] * self._slots, axis=self._axes[name]))
            for name, value in self.start.items()
        }

    def _write(self, entering: list[int], staying: list[int]) -> None:
        rows: list[Row] = [self.start, *(self._waiting[slot] for slot in entering)]
        source = np.full(self._slots, self._slots, np.int64)  # the first of the rows that come in: the start
        source[staying] = staying
        source[entering] = self._slots + 1 + np.arange(len(entering))
        sent = {SOURCE: source}  # held until the run is over: a binding may lean on an array's own memory
        for name, axis in self._axes.items():
            sent[name + ROWS] = np.ascontiguousarray(np.stack([row[name] for row in rows], axis))
        binding = self._bindings[self.side]
        for name, values in sent.items():
            binding.bind_cpu_input(name, values)
        self._session.run_with_iobinding(binding)
        self.advanced()
        for slot in entering:
            del self._waiting[slot]

    def _bound(self, session: Any, side: int) -> Any:
        binding = session.io_binding()
        self.bind(binding, side)
        return binding

    def _filled(self, device: Device) -> dict[str, Any]:
        return {name: device.holding(values) for name, values in self.initial().items()}

    def _full_shape(self, name: str) -> tuple[int, ...]:
        shape = list(self.start[name].shape)
        shape.insert(self._axes[name], self._slots)
        return tuple(shape)
