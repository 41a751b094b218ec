"""One decode graph on a device, with all inputs and outputs at fixed addresses."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.device_state import Device, DeviceState
from runtime.runner import Chunk, Decoded
from runtime.session import onnxruntime

_UNCAPTURED: Final = -1  # with this graph id ONNX Runtime neither captures nor replays
_SAMPLED: Final = -1  # of `forced`: no token is forced
_NO_BIAS: Final = 0  # row of the table of biases
_DEFAULTS: Final[dict[str, Any]] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0}
"""Sampling parameters of idle rows: no limit but the grammar."""


class DeviceSampling:
    """The sampling parameters of all slots on the device. They are sent only when the rows of the batch change."""

    def __init__(self, slots: int, device: Device) -> None:
        self._host: dict[str, NDArray[Any]] = {
            "temperature": np.empty(slots, np.float32),
            "top_k": np.empty(slots, np.int64),
            "top_p": np.empty(slots, np.float32),
        }
        for name, values in self._host.items():
            values[...] = _DEFAULTS[name]
        self._arrays = {name: device.copy(values) for name, values in self._host.items()}
        self._rows: NDArray[np.intp] | None = None
        self._last: dict[str, NDArray[Any]] = {}

    def send(self, chunk: Chunk) -> None:
        """Send the parameters that differ from the last chunk's."""
        values_by_name = {name: getattr(chunk, name) for name in self._host}
        for name, values in values_by_name.items():
            if chunk.rows is self._rows and values is self._last[name]:
                continue
            host = self._host[name]
            host[...] = _DEFAULTS[name]
            host[chunk.rows] = values
            self._arrays[name].update_inplace(host)
        self._rows, self._last = chunk.rows, values_by_name

    def bind(self, binding: Any) -> None:
        """Bind a graph's inputs to them."""
        for name, values in self._arrays.items():
            binding.bind_ortvalue_input(name, values)


class DeviceBiases:
    """The table of biases on the device. Its shape never changes; it is sent only when the rows in use change.

    It holds the rows that one chunk uses, at most one for each token, after the row of zeros that idle slots use.

    Args:
        slots: rows of every run.
        steps: steps of the longest chunk.
        vocabulary: length of a row.
        device: where the table is.
    """

    def __init__(self, slots: int, steps: int, vocabulary: int, device: Device) -> None:
        self._host = np.zeros((1 + slots * steps, vocabulary), np.float32)
        self._array = device.copy(self._host)
        self._table: NDArray[np.float32] | None = None
        self._used = np.zeros(0, np.int64)

    def send(self, chunk: Chunk) -> NDArray[np.int64]:
        """Send the rows that the chunk uses, and return their indices on the device for each token, (batch, steps)."""
        used, index = np.unique(chunk.bias_index, return_inverse=True)
        if chunk.bias is not self._table or not np.array_equal(used, self._used):
            self._table, self._used = chunk.bias, used
            rows = self._host[1 : 1 + len(used)]
            if not np.array_equal(rows, chunk.bias[used]):
                rows[...] = chunk.bias[used]
                self._array.update_inplace(self._host)
        return 1 + index.reshape(chunk.bias_index.shape)

    def bind(self, binding: Any) -> None:
        """Bind a graph's input to it."""
        binding.bind_ortvalue_input("bias", self._array)


class DeviceGraph:
    """Decodes `steps` tokens for all slots.

    It has two bindings, one for each direction between the two sets of state. Captured CUDA graphs contain addresses,
    so each direction is captured under a separate graph id. Ids are local to a session.

    Args:
        session: an ONNX Runtime session on the decode graph.
        steps: number of tokens that it decodes.
        slots: rows of every run.
        state: the state that it reads and writes.
        sampling: the sampling parameters that it reads.
        biases: the table of biases that it reads.
        device: where all arrays are.
        captured: whether the session was opened with CUDA graphs enabled.
    """

    def __init__(
        self,
        session: Any,
        steps: int,
        slots: int,
        state: DeviceState,
        sampling: DeviceSampling,
        biases: DeviceBiases,
        device: Device,
        captured: bool,
    ) -> None:
        self.steps = steps
        self._session = session
        self._uniforms = np.zeros((slots, steps), np.float32)
        self._forced = np.full((slots, steps), _SAMPLED, np.int64)
        self._bias_index = np.full((slots, steps), _NO_BIAS, np.int64)
        self._inputs = {
            "uniforms": device.copy(self._uniforms),
            "forced": device.copy(self._forced),
            "bias_index": device.copy(self._bias_index),
        }
        self._tokens = device.empty((slots, steps), np.int64)
        self._log_probabilities = device.empty((slots, steps), np.float32)
        self._rows: NDArray[np.intp] | None = None
        self._bindings = []
        for side in range(2):
            binding = session.io_binding()
            state.bind(binding, side)
            sampling.bind(binding)
            biases.bind(binding)
            for name, values in self._inputs.items():
                binding.bind_ortvalue_input(name, values)
            binding.bind_ortvalue_output("tokens", self._tokens)
            binding.bind_ortvalue_output("log_probabilities", self._log_probabilities)
            self._bindings.append(binding)
        self._options = [_run_options(1 + side if captured else _UNCAPTURED) for side in range(2)]
        self._uncaptured = _run_options(_UNCAPTURED)

    def send(self, chunk: Chunk, bias_index: NDArray[np.int64]) -> None:
        """Send the chunk's random numbers and forced tokens, and the rows of its biases, (batch, steps), if changed."""
        if chunk.rows is not self._rows:
            self._forced[...] = _SAMPLED  # of slots that are no longer in the chunk
            self._bias_index[...] = _NO_BIAS
            self._rows = chunk.rows
            biases_changed = True
        else:
            biases_changed = not np.array_equal(self._bias_index[chunk.rows], bias_index)
        self._uniforms[chunk.rows] = chunk.uniforms
        self._forced[chunk.rows] = chunk.forced
        self._inputs["uniforms"].update_inplace(self._uniforms)
        self._inputs["forced"].update_inplace(self._forced)
        if biases_changed:
            self._bias_index[chunk.rows] = bias_index
            self._inputs["bias_index"].update_inplace(self._bias_index)

    def run(self, side: int, *, captured: bool = True) -> None:
        """Run from set `side` into the other set, and wait for the end.

        With `captured`, the run is a CUDA graph, if the session has them enabled. ONNX Runtime captures the first run
        of an id: it runs the graph once, once more to capture it, and once from the capture. All three read the same
        values and write the same values.
        """
        self._session.run_with_iobinding(self._bindings[side], self._options[side] if captured else self._uncaptured)

    def decoded(self, rows: NDArray[np.intp]) -> Decoded:
        """The result of the last run for some rows, copied to the host."""
        return Decoded(self._tokens.numpy()[rows], self._log_probabilities.numpy()[rows])

    def send_uniforms(self, uniforms: NDArray[np.float32]) -> None:
        """Send random numbers (slots, steps) for all slots."""
        self._inputs["uniforms"].update_inplace(uniforms)

    def clear_decoded(self) -> None:
        """Overwrite the result of the last run, which shows whether the next run writes its own."""
        self._tokens.update_inplace(np.full_like(self._forced, _SAMPLED))
        self._log_probabilities.update_inplace(np.full_like(self._uniforms, np.nan))


def _run_options(graph_id: int) -> Any:
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(graph_id))
    return options
