"""Reads primers with the prefill graph: many told tokens in one run."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from music.bundle import Bundle
from music.errors import BundleMismatchError
from music.tokenizers import Tokenizer

_OUTPUTS = ("h_next", "c_next")


class Told:
    """What the network is told before each token of a primer and, in the last row, after them all: (n + 1, ...).

    All of it follows from the tokens alone, so it is computed once, in NumPy, before the first slice runs.
    """

    def __init__(self, tokenizer: Tokenizer, tokens: NDArray[np.int64], clock_row: int) -> None:
        grammar, voicing = tokenizer.grammar, tokenizer.voicing
        # Nothing is said of what comes after a row's token, so any token may stand in for the one not drawn yet.
        extended = np.append(tokens, tokens[-1:])
        self.previous = np.concatenate([[tokenizer.start_token], tokens]).astype(np.int64)
        self.clock_rows = tokenizer.clock.rows(clock_row, len(extended)).astype(np.int64)
        self.grammar = grammar.states(extended).astype(np.int64)
        """The grammar's own states."""
        self.joint_grammar = grammar.joint_states(extended)
        """States of all its automata in one number."""
        self.registers = None if voicing is None else voicing.registers(extended)
        self.profile = None if voicing is None else voicing.profile(extended)

    def inputs(self, rows: slice) -> dict[str, NDArray[Any]]:
        """The rows as the graph takes them, by input: (time, 1, ...)."""
        named = {
            "previous": self.previous,
            "clock_rows": self.clock_rows,
            "grammar": self.grammar,
            "registers": self.registers,
            "profile": self.profile,
        }
        return {name: values[rows, None] for name, values in named.items() if values is not None}


@dataclass(frozen=True, slots=True, eq=False)
class Advance:
    """How far one run has come."""

    tokens: int
    """How many it took."""
    h: NDArray[np.float32]
    """(layers, hidden), after them."""
    c: NDArray[np.float32]
    """(layers, hidden), after them."""


class Prefill:
    """The prefill graph, one primer in a run.

    A run holds one row, always: the result thus knows nothing of others, whatever kernels do with their rows.

    Args:
        bundle: whose graph it is.
        session: an ONNX Runtime session on that graph.

    Raises:
        BundleMismatchError: the graph is not what the manifest says.
    """

    def __init__(self, bundle: Bundle, session: Any) -> None:
        network, name = bundle.network, bundle.manifest.graphs.prefill
        self._session = session
        self._tokenizer = bundle.tokenizer
        self._shape = (network.layers, 1, network.hidden)
        shapes = {value.name: list(value.shape) for value in (*session.get_inputs(), *session.get_outputs())}
        self._inputs = {value.name for value in session.get_inputs()}
        expected = [network.layers, "batch", network.hidden]
        for value in ("h", "c", *_OUTPUTS):
            if shapes.get(value) != expected:
                raise BundleMismatchError(
                    f"{bundle.path}: {name}: {value} has shape {shapes.get(value)}, the manifest says {expected}"
                )

    def told(self, tokens: NDArray[np.int64], clock_row: int) -> Told:
        """What the network is told of a primer (n,), n at least 1, whose first token is at `clock_row`."""
        return Told(self._tokenizer, tokens, clock_row)

    def advance(self, told: Told, slice_tokens: int) -> Iterator[Advance]:
        """Read a primer from its start, `slice_tokens` a run and what is left in the last."""
        h = c = np.zeros(self._shape, np.float32)
        count = len(told.previous) - 1
        for first in range(0, count, slice_tokens):
            rows = slice(first, min(first + slice_tokens, count))
            inputs = {name: values for name, values in told.inputs(rows).items() if name in self._inputs}
            lengths = np.array([rows.stop - rows.start], np.int32)
            h, c = self._session.run(_OUTPUTS, {**inputs, "lengths": lengths, "h": h, "c": c})
            yield Advance(rows.stop - rows.start, h[:, 0], c[:, 0])
