"""Drawing a token from logits, inside the graph."""

import numpy as np
from onnx import TensorProto

from training.graphs.builder import Graph
from training.graphs.grammar import Grammar
from training.graphs.weights import FORBIDDEN


class Sampler:
    """Temperature, the grammar and the caller's mask, top-k, top-p, and one draw a step.

    Tokens are sorted by logit (ties by id) and the draw inverts the cumulative distribution of those kept, so
    that one uniform number decides one token whatever else is in the batch.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._grammar = Grammar(graph)
        vocabulary = graph.weights.vocabulary
        allowed = graph.input("allowed", TensorProto.BOOL, ("batch", vocabulary))
        column = graph.integers(1)
        zero, forbidden = (graph.constant(np.array(value, np.float32)) for value in (0.0, FORBIDDEN))
        self._penalty = graph.op("Where", allowed, zero, forbidden)
        self._temperature = graph.op("Unsqueeze", graph.input("temperature", TensorProto.FLOAT, ("batch",)), column)
        self._top_p = graph.op("Unsqueeze", graph.input("top_p", TensorProto.FLOAT, ("batch",)), column)
        top_k = graph.op("Unsqueeze", graph.input("top_k", TensorProto.INT64, ("batch",)), column)
        unlimited = graph.op("Equal", top_k, graph.integers(0))
        limit = graph.op("Where", unlimited, graph.integers(vocabulary), top_k)
        ranks = graph.constant(np.arange(vocabulary, dtype=np.int64)[None, :])
        self._within_k = graph.op("Less", ranks, limit)  # (batch, vocabulary)
        self._least = graph.constant(np.array(FORBIDDEN / 2, np.float32))

    def draw(self, logits: str, states: list[str], uniform: str) -> str:
        """Tokens (batch, 1) from logits (batch, vocabulary), the grammar's states and uniforms (batch, 1)."""
        graph = self._graph
        scaled = graph.op("Div", logits, self._temperature)
        masked = graph.op("Add", self._grammar.penalised(scaled, states), self._penalty)
        ordered, ids = graph.ops(
            "TopK", masked, graph.integers(graph.weights.vocabulary), count=2, axis=1, largest=1, sorted=1
        )
        probabilities = graph.op("Softmax", ordered, axis=1)
        cumulative = graph.op("CumSum", probabilities, graph.constant(np.array(1, np.int64)))
        before = graph.op("Sub", cumulative, probabilities)
        kept = graph.op("And", graph.op("Less", before, self._top_p), self._within_k)
        kept = graph.op("And", kept, graph.op("Greater", ordered, self._least))
        count = graph.op("ReduceSum", graph.op("Cast", kept, to=TensorProto.INT64), graph.integers(1), keepdims=1)
        last = graph.op("Sub", count, graph.integers(1))
        mass = graph.op("GatherElements", cumulative, last, axis=1)
        passed = graph.op("LessOrEqual", cumulative, graph.op("Mul", uniform, mass))
        rank = graph.op("ReduceSum", graph.op("Cast", passed, to=TensorProto.INT64), graph.integers(1), keepdims=1)
        rank = graph.op("Min", rank, last)  # the product may round up to the whole mass
        return graph.op("GatherElements", ids, rank, axis=1)
