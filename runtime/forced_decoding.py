"""Reads given tokens with the decode graphs, all of them forced: for networks without a graph for whole sequences."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from music.bundle import Bundle
from music.graph_names import NEXT
from runtime.prefill import PrefillSlice
from runtime.state import StateArrays, initial_state, slot_axis, stack_slots, start_values


class ForcedPrefill:
    """Reads the tokens of one sequence with decode graphs. See `runtime.prefill.Prefill`.

    Args:
        bundle: whose graphs they are.
        sessions: ONNX Runtime sessions on them, by number of steps; one of them decodes a single step.
    """

    def __init__(self, bundle: Bundle, sessions: Mapping[int, Any]) -> None:
        self._decoder = ForcedDecoder(bundle, sessions)
        self._start = initial_state(bundle)

    def run(
        self, tokens: NDArray[np.int64], first_position: int, remaining: int, slice_tokens: int
    ) -> Iterator[PrefillSlice]:
        """Read tokens (n,), n at least 1, `slice_tokens` at a time; the last slice has the state after them."""
        values = {**self._start, **start_values(self._start, first_position, remaining)}
        state: StateArrays = stack_slots(values, 1)
        for first in range(0, len(tokens), slice_tokens):
            part = tokens[None, first : first + slice_tokens]
            state, _ = self._decoder.run(state, part)
            is_last = first + part.shape[1] == len(tokens)
            row = {name: np.take(value, 0, slot_axis(name)) for name, value in state.items()} if is_last else None
            yield PrefillSlice(part.shape[1], row)


class ForcedDecoder:
    """Runs decode graphs on forced tokens.

    Args:
        bundle: whose graphs they are.
        sessions: by number of steps; one of them decodes a single step.
    """

    def __init__(self, bundle: Bundle, sessions: Mapping[int, Any]) -> None:
        assert 1 in sessions
        self._sessions = dict(sorted(sessions.items(), reverse=True))
        self._vocabulary = bundle.network.vocabulary

    def run(self, state: StateArrays, tokens: NDArray[np.int64]) -> tuple[StateArrays, NDArray[np.float32]]:
        """The state after the tokens (batch, n) and their log-probabilities (batch, n)."""
        outputs = ("log_probabilities", *(name + NEXT for name in state))
        parts, first = [], 0
        for steps, session in self._sessions.items():
            while tokens.shape[1] - first >= steps:
                inputs = forced_inputs(tokens[:, first : first + steps], self._vocabulary)
                scored, *after = session.run(outputs, {**state, **inputs})
                state = dict(zip(state, after, strict=True))
                parts.append(scored)
                first += steps
        return state, np.concatenate(parts, axis=1)


def forced_inputs(tokens: NDArray[np.int64], vocabulary: int) -> dict[str, NDArray[Any]]:
    """The inputs of a decode graph, without the state, that force all tokens (batch, steps)."""
    rows = len(tokens)
    return {
        "forced": np.ascontiguousarray(tokens),
        "uniforms": np.zeros(tokens.shape, np.float32),
        "temperature": np.ones(rows, np.float32),
        "top_k": np.zeros(rows, np.int64),
        "top_p": np.ones(rows, np.float32),
        "bias": np.zeros((1, vocabulary), np.float32),
        "bias_index": np.zeros(tokens.shape, np.int64),
    }
