"""Scores pieces with the decode graphs: all tokens are forced, and the graphs' logits are read."""

from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from music.bundle import Bundle
from music.graph_names import NEXT
from runtime.forced_decoding import forced_inputs
from runtime.precision import Precision, decode_graphs
from runtime.scorer import Scorer
from runtime.session import open_session
from runtime.state import initial_state, stack_starts

_LOGITS: Final = "logits_{}"
TOKENS_AT_ONCE: Final = 1 << 17
"""Maximum number of tokens of one run: enough for many pieces side by side, since each is read token by token."""


class LogitScorer(Protocol):
    """Scores whole pieces."""

    @property
    def tokens_at_once(self) -> int:
        """Maximum number of tokens of one call, with padding."""

    def logits(
        self,
        pieces: Sequence[NDArray[np.integer[Any]]],
        first_positions: Sequence[int],
        remaining: Sequence[int] | None = None,
        /,
    ) -> list[NDArray[np.float32]]:
        """See `runtime.scorer.Scorer.logits`."""


def logit_scorer(bundle: Bundle, precision: Precision | None, *, threads: int = 0) -> LogitScorer:
    """A scorer of logits: of the decode graphs for a precision, else the fastest one in float32."""
    if precision is not None:
        return DecodeScorer(bundle, precision, threads=threads)
    if bundle.manifest.graphs.score is not None or "config" not in bundle.manifest.provenance:
        return graph_scorer(bundle, threads=threads)
    # PyTorch is not needed, and not installed everywhere, to evaluate a bundle with a scoring graph.
    from training.evaluation.network_scoring import NetworkScorer
    from training.graphs.from_bundle import network_from_bundle

    return NetworkScorer(network_from_bundle(bundle), bundle.tokenizer, threads=threads)


def graph_scorer(bundle: Bundle, *, threads: int = 0) -> "Scorer | DecodeScorer":
    """A scorer with a graph of the bundle in float32: the scoring graph, or the decode graphs if it has none.

    All graphs share the weights. The decode graphs of an older format have other inputs, so they are the second choice.
    """
    if bundle.manifest.graphs.score is not None:
        return Scorer(bundle, threads=threads)
    return DecodeScorer(bundle, "float32", threads=threads)


class DecodeScorer:
    """The longest decode graph with its logits as extra outputs. It scores the graph that serves, also in int8.

    Every token is forced, so what the graph samples has no effect.
    """

    tokens_at_once: Final = TOKENS_AT_ONCE

    def __init__(self, bundle: Bundle, precision: Precision, *, threads: int = 0) -> None:
        self._bundle = bundle
        graphs = decode_graphs(bundle, precision)
        self._steps = max(graphs)
        model = onnx.load_model_from_string(bundle.read(graphs[self._steps]))
        shape = ("batch", bundle.network.vocabulary)
        self._outputs = [_LOGITS.format(step) for step in range(self._steps)]
        model.graph.output.extend(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in self._outputs
        )
        self._session = open_session(
            bundle, graphs[self._steps], provider="cpu", threads=threads, graph=model.SerializeToString()
        )

    def logits(
        self,
        tokens: Sequence[NDArray[np.integer[Any]]],
        first_positions: Sequence[int],
        remaining: Sequence[int] | None = None,
    ) -> list[NDArray[np.float32]]:
        """See `runtime.scorer.Scorer.logits`."""
        width = len(tokens)
        longest = max(map(len, tokens))
        chunks = -(-longest // self._steps)
        forced = np.zeros((width, chunks * self._steps), np.int64)  # zeros after the end of a piece have no effect
        for row, piece in enumerate(tokens):
            forced[row, : len(piece)] = piece
        state = stack_starts(initial_state(self._bundle), first_positions, remaining)
        parts = []
        for first in range(0, forced.shape[1], self._steps):
            inputs = forced_inputs(forced[:, first : first + self._steps], self._bundle.network.vocabulary)
            names = (*self._outputs, *(name + NEXT for name in state))
            results = self._session.run(names, {**state, **inputs})
            parts.extend(results[: self._steps])
            state = dict(zip(state, results[self._steps :], strict=True))
        logits = np.stack(parts, axis=1)
        return [logits[row, : len(piece)] for row, piece in enumerate(tokens)]
