"""Drawing a token from logits, inside the graph."""

import numpy as np
from onnx import TensorProto

from training.graphs.builder import Graph
from training.graphs.grammar import Grammar
from training.graphs.weights import FORBIDDEN


class Sampler:
    """Temperature, the grammar and the caller's mask, top-k, top-p, and one draw a step.

    Tokens are sorted by probability (ties by id) and the draw inverts the cumulative distribution of those kept, so
    that one uniform number decides one token whatever else is in the batch.

    Only as many are sorted as any row of the run may draw from, which `choices` says: most ask for few, and sorting is
    most of what sampling costs. How many they are shows in no row's bits: probabilities are shares of all tokens,
    whatever is sorted, and `CumSum` adds one after the other, so those that a row may not draw only come after.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._grammar = Grammar(graph)
        vocabulary, choices = graph.weights.vocabulary, graph.weights.choices
        allowed = graph.input("allowed", TensorProto.BOOL, ("batch", vocabulary))
        column = graph.integers(1)
        zero, one, forbidden = (graph.constant(np.array(value, np.float32)) for value in (0.0, 1.0, FORBIDDEN))
        self._penalty = graph.op("Where", allowed, zero, forbidden)
        temperature = graph.op("Unsqueeze", graph.input("temperature", TensorProto.FLOAT, ("batch",)), column)
        self._sharpness = graph.op("Div", one, temperature)
        top_p = graph.op("Unsqueeze", graph.input("top_p", TensorProto.FLOAT, ("batch",)), column)
        top_k = graph.op("Unsqueeze", graph.input("top_k", TensorProto.INT64, ("batch",)), column)
        unlimited = graph.op("Equal", top_k, graph.integers(0))
        limit = graph.op("Where", unlimited, graph.integers(choices), top_k)
        last = graph.op("Min", limit, graph.integers(choices))
        # On a GPU this lies in the host's memory, so nothing is computed from it.
        self._choices = graph.default("choices", np.array([choices], np.int64))
        ranks = graph.constant(np.arange(1, choices + 1, dtype=np.int64)[None, :])
        ranks = graph.op("Slice", ranks, graph.integers(0), self._choices, column)
        # A token is kept while those before it have less than this together: top-p, but nothing from rank top-k on.
        self._least = graph.op("Where", graph.op("Less", ranks, last), top_p, forbidden)  # (batch, choices)
        self._whole = graph.constant(np.array(2.0, np.float32))
        self._column = graph.constant(np.array(1, np.int64))

    def draw(self, logits: str, states: list[str], uniform: str) -> str:
        """Tokens (batch, 1) from logits (batch, vocabulary), the grammar's states and uniforms (batch, 1)."""
        graph = self._graph
        scaled = graph.op("Mul", logits, self._sharpness)
        masked = graph.op("Sum", scaled, self._penalty, *self._grammar.penalties(states))
        shares = graph.op("Softmax", masked, axis=1)
        ordered, ids = graph.ops("TopK", shares, self._choices, count=2, axis=1, largest=1, sorted=1)
        cumulative = graph.op("CumSum", ordered, self._column)
        # What is kept has the mass up to the first rank after which nothing more is kept.
        goes_on = graph.op("Less", cumulative, self._least)
        mass = graph.op("ReduceMin", graph.op("Where", goes_on, self._whole, cumulative), axes=[1], keepdims=1)
        passed = graph.op("Less", cumulative, graph.op("Mul", uniform, mass))
        rank = graph.op("ReduceSum", graph.op("Cast", passed, to=TensorProto.INT64), graph.integers(1), keepdims=1)
        return graph.op("GatherElements", ids, rank, axis=1)
