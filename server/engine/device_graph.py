"""One decode graph on a device, with everything that it reads and writes at fixed addresses."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from server.engine.device_state import Device, DeviceState
from server.engine.ort import onnxruntime
from server.engine.runner import Chunk

_UNCAPTURED: Final = -1  # the id under which ONNX Runtime neither captures nor replays
_NOT_TOLD: Final = -1
_PLAIN: Final[dict[str, Any]] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "allowed": True}
"""What idle rows sample with: whatever the grammar allows."""


class Sampling:
    """How each slot's tokens are drawn; sent only when somebody joins or leaves."""

    def __init__(self, slots: int, vocabulary: int, device: Device) -> None:
        self._host: dict[str, NDArray[Any]] = {
            "temperature": np.empty(slots, np.float32),
            "top_k": np.empty(slots, np.int64),
            "top_p": np.empty(slots, np.float32),
            "allowed": np.empty((slots, vocabulary), np.bool_),
        }
        for name, values in self._host.items():
            values[...] = _PLAIN[name]
        self._sent = {name: device.holding(values) for name, values in self._host.items()}
        self._rows: NDArray[np.intp] | None = None
        self._seen: dict[str, NDArray[Any]] = {}

    def set(self, chunk: Chunk) -> None:
        """Send what the chunk says and the last one did not."""
        given = {name: getattr(chunk, name) for name in self._host}
        for name, values in given.items():
            if chunk.rows is self._rows and values is self._seen[name]:
                continue
            host = self._host[name]
            host[...] = _PLAIN[name]
            host[chunk.rows] = values
            self._sent[name].update_inplace(host)
        self._rows, self._seen = chunk.rows, given

    def bind(self, binding: Any) -> None:
        """Let a graph read them."""
        for name, values in self._sent.items():
            binding.bind_ortvalue_input(name, values)


class DeviceGraph:
    """Decodes `steps` tokens for all slots.

    It has two bindings, one for each direction between the two sets of state. Captured CUDA graphs hold addresses, so
    each direction is captured under an id of its own; ids count within a session.

    Args:
        session: an ONNX Runtime session on the decode graph.
        steps: how many tokens it decodes.
        slots: rows of every run.
        state: what it reads and writes.
        sampling: what it reads beside.
        device: where they lie.
        captured: whether the session was opened to capture.
    """

    def __init__(
        self,
        session: Any,
        steps: int,
        slots: int,
        state: DeviceState,
        sampling: Sampling,
        device: Device,
        captured: bool,
    ) -> None:
        self.steps = steps
        self._session = session
        self._uniforms = np.zeros((slots, steps), np.float32)
        self._forced = np.full((slots, steps), _NOT_TOLD, np.int64)
        self._inputs = {"uniforms": device.holding(self._uniforms), "forced": device.holding(self._forced)}
        self._tokens = device.array((slots, steps), np.int64)
        self._rows: NDArray[np.intp] | None = None
        self._bindings = []
        for side in range(2):
            binding = session.io_binding()
            state.bind(binding, side)
            sampling.bind(binding)
            for name, values in self._inputs.items():
                binding.bind_ortvalue_input(name, values)
            binding.bind_ortvalue_output("tokens", self._tokens)
            self._bindings.append(binding)
        self._options = [_run_options(1 + side if captured else _UNCAPTURED) for side in range(2)]
        self._uncaptured = _run_options(_UNCAPTURED)

    def set(self, chunk: Chunk) -> None:
        """Send the chunk's draws and forced tokens."""
        if chunk.rows is not self._rows:
            self._forced[...] = _NOT_TOLD  # of those who have left
            self._rows = chunk.rows
        self._uniforms[chunk.rows] = chunk.uniforms
        self._forced[chunk.rows] = chunk.forced
        self._inputs["uniforms"].update_inplace(self._uniforms)
        self._inputs["forced"].update_inplace(self._forced)

    def run(self, side: int, *, captured: bool = True) -> None:
        """Run from one set of state into the other, and wait for it; `captured` as far as the session captures.

        ONNX Runtime captures an id's first run: it runs once, once more to capture, and once from the capture. All
        three read the same and write the same.
        """
        self._session.run_with_iobinding(self._bindings[side], self._options[side] if captured else self._uncaptured)

    def tokens(self, rows: NDArray[np.intp]) -> NDArray[np.int64]:
        """Copy what the last run decoded in some rows, (width, steps), to the host."""
        tokens: NDArray[np.int64] = self._tokens.numpy()[rows]
        return tokens

    def fill(self, uniforms: NDArray[np.float32]) -> None:
        """Send draws (slots, steps) for all slots, whoever runs there."""
        self._inputs["uniforms"].update_inplace(uniforms)

    def forget(self) -> None:
        """Overwrite what the last run decoded, so that it shows whether the next one writes."""
        self._tokens.update_inplace(np.full_like(self._forced, _NOT_TOLD))


def _run_options(graph_id: int) -> Any:
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(graph_id))
    return options
