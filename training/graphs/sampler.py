"""Samples a token from logits inside the graph."""

import numpy as np
from onnx import TensorProto

from music.grammar import FORBIDDEN
from music.graph_names import CANDIDATE_LIMIT
from training.graphs.builder import Graph


class Sampler:
    """Temperature, biases, top-k, top-p, and one sample per step.

    Tokens are sorted by probability (ties by id). The uniform number inverts the cumulative distribution of the kept
    tokens, so it decides the token whatever else is in the batch.

    Only the `choices` most likely tokens are sorted: the greatest number that a row of the run may sample from. Sorting
    is most of the cost of sampling, and most requests sample from few tokens. The number does not change any row's
    bits: probabilities are shares of all tokens, and `CumSum` adds in order, so tokens beyond a row's limit come later.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        choices = graph.weights.choices
        column = graph.integers(1)
        one, forbidden = (graph.constant(np.array(value, np.float32)) for value in (1.0, FORBIDDEN))
        temperature = graph.op("Unsqueeze", graph.input("temperature", TensorProto.FLOAT, ("batch",)), column)
        self._inverse_temperature = graph.op("Div", one, temperature)
        top_p = graph.op("Unsqueeze", graph.input("top_p", TensorProto.FLOAT, ("batch",)), column)
        top_k = graph.op("Unsqueeze", graph.input("top_k", TensorProto.INT64, ("batch",)), column)
        unlimited = graph.op("Equal", top_k, graph.integers(0))
        limit = graph.op("Where", unlimited, graph.integers(choices), top_k)
        last = graph.op("Min", limit, graph.integers(choices))
        # On a GPU this input lies in host memory, so nothing is computed from it.
        self._choices = graph.default(CANDIDATE_LIMIT, np.array([choices], np.int64))
        ranks = graph.constant(np.arange(1, choices + 1, dtype=np.int64)[None, :])
        ranks = graph.op("Slice", ranks, graph.integers(0), self._choices, column)
        # A token is kept while the tokens before it sum to less than this: top-p, or -1e30 from rank top-k on.
        self._mass_limit = graph.op("Where", graph.op("Less", ranks, last), top_p, forbidden)  # (batch, choices)
        self._above_one = graph.constant(np.array(2.0, np.float32))
        self._cumsum_axis = graph.constant(np.array(1, np.int64))

    def sample(self, logits: str, bias: str, uniform: str, factor: str | None = None) -> str:
        """Tokens (batch, 1) from masked logits and biases, both (batch, vocabulary), and uniforms (batch, 1).

        The logits are multiplied by `factor` (batch, 1), if it is given, before the temperature divides them.
        """
        graph = self._graph
        scale = self._inverse_temperature
        scaled = graph.op("Mul", logits, scale if factor is None else graph.op("Mul", factor, scale))
        shares = graph.op("Softmax", graph.op("Add", scaled, bias), axis=1)
        ordered, ids = graph.ops("TopK", shares, self._choices, count=2, axis=1, largest=1, sorted=1)
        cumulative = graph.op("CumSum", ordered, self._cumsum_axis)
        # The mass of the kept tokens is the cumulative probability at the first rank after which none is kept.
        continues = graph.op("Less", cumulative, self._mass_limit)
        mass = graph.op("ReduceMin", graph.op("Where", continues, self._above_one, cumulative), axes=[1], keepdims=1)
        passed = graph.op("Less", cumulative, graph.op("Mul", uniform, mass))
        rank = graph.op("ReduceSum", graph.op("Cast", passed, to=TensorProto.INT64), graph.integers(1), keepdims=1)
        return graph.op("GatherElements", ids, rank, axis=1)
