"""First tokens with ONNX Runtime, from a session that the runner uses as well."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from server.engine.chunk_inputs import Choices, chunk_inputs
from server.engine.ort import onnxruntime
from server.engine.runner import Chunk, Opened

_LAYERED: Final = ("h", "c")


class OnnxOpener:
    """See `server.engine.runner.Opener`. ONNX Runtime lets several threads run a session at once.

    Args:
        session: on the bundle's decode graph of the smallest chunk, on the CPU.
        start: what every sequence's state is before its first token, by name, (...), or (layers, hidden) for h and c.
        choices: nobody else's.
    """

    def __init__(
        self, session: onnxruntime.InferenceSession, start: Mapping[str, NDArray[Any]], choices: Choices
    ) -> None:
        self._session = session
        self._start = dict(start)
        self._outputs = ("tokens", *(f"{name}_next" for name in start))
        self._choices = choices

    def open(self, clock_rows: NDArray[np.int64], chunk: Chunk) -> Opened:
        """See `Opener.open`."""
        state = {name: _stacked(name, value, chunk.width) for name, value in self._start.items()}
        tokens, *after = self._session.run(
            self._outputs, {**state, "clock": clock_rows, **chunk_inputs(chunk, self._choices)}
        )
        ended = {name: _by_row(name, values) for name, values in zip(state, after, strict=True)}
        return Opened(tokens, [{name: values[row] for name, values in ended.items()} for row in range(chunk.width)])


def _stacked(name: str, value: NDArray[Any], width: int) -> NDArray[Any]:
    return np.stack([value] * width, axis=int(name in _LAYERED))


def _by_row(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """An array with the rows along its first axis."""
    return values.swapaxes(0, 1) if name in _LAYERED else values
