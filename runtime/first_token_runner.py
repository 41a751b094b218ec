"""The first tokens of sequences, on the CPU, from sessions that the runner uses as well."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from music.graph_names import NEXT, POSITION, REMAINING
from runtime.runner import Chunk, FirstTokens
from runtime.sampling import SamplingInputs
from runtime.session import onnxruntime
from runtime.state import StateArrays, by_slot, stack_slots


class HostFirstTokenRunner:
    """A `runtime.runner.FirstTokenRunner`. Several threads may run one ONNX Runtime session at once.

    Args:
        sessions: on the bundle's decode graphs, on the CPU, by number of steps.
        start: state of one sequence before its first token, by name; h and c (layers, hidden).
        sampling: makes the inputs; for this object alone.
    """

    def __init__(
        self, sessions: Mapping[int, onnxruntime.InferenceSession], start: StateArrays, sampling: SamplingInputs
    ) -> None:
        smallest = min(sessions)
        self._sessions = {size: sessions[size] for size in sorted(sessions, reverse=True) if size % smallest == 0}
        self._start = dict(start)
        self._starts: dict[int, dict[str, NDArray[Any]]] = {}  # the start by batch size; runs never write to it
        self._outputs = ("tokens", "log_probabilities", *(name + NEXT for name in start))
        self._sampling = sampling

    def decode(self, position_indices: NDArray[np.int64], remaining: NDArray[np.int64], chunk: Chunk) -> FirstTokens:
        """See `FirstTokenRunner.decode`."""
        state = {**self._start_state(chunk.batch_size), POSITION: position_indices}
        if REMAINING in state:
            state[REMAINING] = remaining
        tokens, log_probabilities = [], []
        for part in self._split(chunk):
            inputs = {**state, **self._sampling.of(part)}
            part_tokens, part_log_probabilities, *after = self._sessions[part.steps].run(self._outputs, inputs)
            state = dict(zip(state, after, strict=True))
            tokens.append(part_tokens)
            log_probabilities.append(part_log_probabilities)
        rows = {name: by_slot(name, values) for name, values in state.items()}
        states = [{name: values[row] for name, values in rows.items()} for row in range(chunk.batch_size)]
        return FirstTokens(np.concatenate(tokens, axis=1), np.concatenate(log_probabilities, axis=1), states)

    def _start_state(self, batch_size: int) -> dict[str, NDArray[Any]]:
        if batch_size not in self._starts:
            self._starts[batch_size] = stack_slots(self._start, batch_size)
        return self._starts[batch_size]

    def _split(self, chunk: Chunk) -> Iterator[Chunk]:
        """The chunk in parts of sizes that have a graph, the longest first."""
        start = 0
        while start < chunk.steps:
            steps = next(size for size in self._sessions if size <= chunk.steps - start)
            part = slice(start, start + steps)
            yield replace(
                chunk,
                uniforms=np.ascontiguousarray(chunk.uniforms[:, part]),
                forced=np.ascontiguousarray(chunk.forced[:, part]),
                bias_index=np.ascontiguousarray(chunk.bias_index[:, part]),
            )
            start += steps
