"""First tokens with ONNX Runtime, from sessions that the runner uses as well."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.engine.chunk_inputs import Choices, chunk_inputs
from server.engine.host_state import by_slot, slot_axis
from server.engine.ort import onnxruntime
from server.engine.runner import Chunk, Opened


class OnnxOpener:
    """See `server.engine.runner.Opener`. ONNX Runtime lets several threads run a session at once.

    Args:
        sessions: on the bundle's decode graphs, on the CPU, by their steps.
        start: what every sequence's state is before its first token, by name, (...), or (layers, hidden) for h and c.
        choices: nobody else's.
    """

    def __init__(
        self,
        sessions: Mapping[int, onnxruntime.InferenceSession],
        start: Mapping[str, NDArray[Any]],
        choices: Choices,
    ) -> None:
        smallest = min(sessions)
        self._sessions = {size: sessions[size] for size in sorted(sessions, reverse=True) if size % smallest == 0}
        self._start = dict(start)
        self._starts: dict[int, dict[str, NDArray[Any]]] = {}  # of so many side by side; runs change none of them
        self._outputs = ("tokens", *(f"{name}_next" for name in start))
        self._choices = choices

    def open(self, clock_rows: NDArray[np.int64], chunk: Chunk) -> Opened:
        """See `Opener.open`."""
        state = {**self._side_by_side(chunk.width), "clock": clock_rows}
        parts = []
        for part in self._parts(chunk):
            inputs = {**state, **chunk_inputs(part, self._choices)}
            tokens, *after = self._sessions[part.steps].run(self._outputs, inputs)
            state = dict(zip(state, after, strict=True))
            parts.append(tokens)
        rows = {name: by_slot(name, values) for name, values in state.items()}
        states = [{name: values[row] for name, values in rows.items()} for row in range(chunk.width)]
        return Opened(np.concatenate(parts, axis=1), states)

    def _side_by_side(self, width: int) -> dict[str, NDArray[Any]]:
        if width not in self._starts:
            self._starts[width] = {
                name: np.stack([value] * width, axis=slot_axis(name)) for name, value in self._start.items()
            }
        return self._starts[width]

    def _parts(self, chunk: Chunk) -> Iterator[Chunk]:
        """The chunk in runs that there are graphs for, the longest first."""
        at = 0
        while at < chunk.steps:
            steps = next(size for size in self._sessions if size <= chunk.steps - at)
            those = slice(at, at + steps)
            yield replace(
                chunk,
                uniforms=np.ascontiguousarray(chunk.uniforms[:, those]),
                forced=np.ascontiguousarray(chunk.forced[:, those]),
            )
            at += steps
