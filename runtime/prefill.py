"""Prefill: many given tokens in one run of the prefill graph."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from music.bundle import Bundle
from music.errors import BundleMismatchError
from music.graph_names import NEXT, POSITION, POSITIONS, REMAINING, VOICE_STATE
from music.linear_voice_tracker import LinearVoiceTracker
from music.tokenizers import Tokenizer
from runtime.state import StateArrays, linear_voice_tracker

_OUTPUTS = ("h" + NEXT, "c" + NEXT)


class PrefillInputs:
    """The network's inputs before each of n given tokens and, in the last row, after them all: arrays (n + 1, ...).

    They are functions of the tokens alone, so they are computed once, in NumPy, before the first slice runs.

    Args:
        tokenizer: of the tokens.
        tokens: (n,), n at least 1.
        first_position: position index of the first token.
        remaining: the remaining length before the first token; None for a network without it.
    """

    def __init__(
        self, tokenizer: Tokenizer, tokens: NDArray[np.int64], first_position: int, remaining: int | None = None
    ) -> None:
        grammar, tracker = tokenizer.grammar, tokenizer.voice_tracker
        # A row depends on the tokens before it alone. So any token can stand for the one after the last.
        extended = np.append(tokens, tokens[-1:])
        self.previous = np.concatenate([[tokenizer.start_token], tokens]).astype(np.int64)
        self.position_indices = tokenizer.positions.indices(first_position, len(extended)).astype(np.int64)
        self.grammar = grammar.feature_states(extended)
        self.joint_grammar = grammar.joint_states(extended)
        self.voice_states = None if tracker is None else tracker.states(extended)
        self.profile = None if tracker is None else tracker.profile(extended)
        self.remaining = None if remaining is None else tokenizer.remaining_length.before(remaining, tokens)

    def rows(self, rows: slice) -> dict[str, NDArray[Any]]:
        """Some rows as inputs of the graph, by name: (time, 1, ...)."""
        named = {
            "previous": self.previous,
            POSITIONS: self.position_indices,
            "grammar": self.grammar,
            VOICE_STATE: self.voice_states,
            "profile": self.profile,
            REMAINING: self.remaining,
        }
        return {name: values[rows, None] for name, values in named.items() if values is not None}


@dataclass(frozen=True, slots=True, eq=False)
class PrefillSlice:
    """The result of reading some of the tokens."""

    tokens: int
    """Number of tokens in the slice."""
    state: StateArrays | None
    """The state of the sequence after the last token (`runtime.state`); None if more slices follow."""


class Prefill:
    """The prefill graph, one sequence in a run.

    A run always holds one row. So the result cannot depend on other sequences, whatever kernels ONNX Runtime chooses.

    Args:
        bundle: whose graph it is.
        session: an ONNX Runtime session on that graph.

    Raises:
        BundleMismatchError: the graph's shapes differ from the manifest.
    """

    def __init__(self, bundle: Bundle, session: Any) -> None:
        network, name = bundle.network, bundle.manifest.graphs.prefill
        self._session = session
        self._tokenizer = bundle.tokenizer
        self._linear = linear_voice_tracker(bundle)
        self._length_input = network.length_input
        self._shape = (network.layers, 1, network.hidden)
        shapes = {value.name: list(value.shape) for value in (*session.get_inputs(), *session.get_outputs())}
        self._inputs = {value.name for value in session.get_inputs()}
        expected = [network.layers, "batch", network.hidden]
        for value in ("h", "c", *_OUTPUTS):
            if shapes.get(value) != expected:
                raise BundleMismatchError(
                    f"{bundle.path}: {name}: {value} has shape {shapes.get(value)}, the manifest says {expected}"
                )

    def run(
        self, tokens: NDArray[np.int64], first_position: int, remaining: int, slice_tokens: int
    ) -> Iterator[PrefillSlice]:
        """Read tokens from the start state, `slice_tokens` tokens in a run and the rest in the last run.

        Args:
            tokens: (n,), n at least 1.
            first_position: position index of the first one.
            remaining: the remaining length before it; ignored by a network without it.
            slice_tokens: of each run.
        """
        inputs = PrefillInputs(self._tokenizer, tokens, first_position, remaining if self._length_input else None)
        h = c = np.zeros(self._shape, np.float32)
        for first in range(0, len(tokens), slice_tokens):
            rows = slice(first, min(first + slice_tokens, len(tokens)))
            values = {name: value for name, value in inputs.rows(rows).items() if name in self._inputs}
            lengths = np.array([rows.stop - rows.start], np.int32)
            h, c = self._session.run(_OUTPUTS, {**values, "lengths": lengths, "h": h, "c": c})
            state = {"h": h[:, 0], "c": c[:, 0], **state_after(inputs, self._linear)}
            yield PrefillSlice(rows.stop - rows.start, state if rows.stop == len(tokens) else None)


def state_after(inputs: PrefillInputs, linear: LinearVoiceTracker | None) -> dict[str, NDArray[Any]]:
    """A sequence's state after all tokens of a prefill, without h and c."""
    state: dict[str, NDArray[Any]] = {
        POSITION: np.array(inputs.position_indices[-1], np.int64),
        "grammar": np.array(inputs.joint_grammar[-1], np.int64),
    }
    if inputs.remaining is not None:
        state[REMAINING] = np.array(inputs.remaining[-1], np.int64)
    if linear is None:
        return state | {"token": np.array(inputs.previous[-1], np.int64)}
    assert inputs.voice_states is not None
    assert inputs.profile is not None
    row = linear.row(inputs.voice_states[-1], inputs.profile[-1], int(inputs.previous[-1]))
    return state | {VOICE_STATE: row}
