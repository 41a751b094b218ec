"""Samples a token from logits inside the graph."""

from typing import Final

import numpy as np
from onnx import TensorProto

from music.grammar import FORBIDDEN
from music.graph_names import CANDIDATE_LIMIT
from training.graphs.builder import Graph

_DEPTH: Final = 80.0
"""Nats below the greatest logit at which logits are cut off. A probability of exp(-80) is a normal float32 number."""
_MAX_BOUNDED_TOP_P: Final = 0.999
_TRIED_SHARE: Final = 1 / 60
"""The share that is tried, as a part of what top-p leaves: with it few rows of a trained network fail."""
_TRIED_MARGIN: Final = 1 / 60
"""How far above top-p the tokens with this share must sum, as a part of what top-p leaves."""


class Sampler:
    """Temperature, biases, top-k, top-p, and one sample per step.

    Tokens are sorted by probability (ties by id). The uniform number inverts the cumulative distribution of the kept
    tokens, so it decides the token whatever else is in the batch.

    Only the `choices` most likely tokens are sorted: the greatest number that a row of the run may sample from. Sorting
    is most of the cost of sampling, and most requests sample from few tokens. The number does not change any row's
    bits: probabilities are shares of all tokens, and `CumSum` adds in order, so tokens beyond a row's limit come later.

    Args:
        graph: to add the nodes to.
        bounded: whether each step counts the tokens that top-p may keep in any row, and sorts no more. A graph for GPUs
            cannot, because the number of tokens to sort must not be computed on the device.
    """

    def __init__(self, graph: Graph, *, bounded: bool = False) -> None:
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
        self._bound = _TopPBound(graph, top_p) if bounded else None

    def sample(self, logits: str, bias: str, uniform: str, factor: str | None = None) -> str:
        """Tokens (batch, 1) from masked logits and biases, both (batch, vocabulary), and uniforms (batch, 1).

        The logits are multiplied by `factor` (batch, 1), if it is given, before the temperature divides them.
        """
        graph = self._graph
        scale = self._inverse_temperature
        scaled = graph.op("Mul", logits, scale if factor is None else graph.op("Mul", factor, scale))
        _, bounded = bounded_below(graph, graph.op("Add", scaled, bias), axis=1)
        shares = graph.op("Softmax", bounded, axis=1)
        choices, mass_limit = self._choices, self._mass_limit
        if self._bound is not None:
            choices = graph.op("Min", self._bound.count(shares), choices)
            mass_limit = graph.op("Slice", mass_limit, graph.integers(0), choices, graph.integers(1))
        ordered, ids = graph.ops("TopK", shares, choices, count=2, axis=1, largest=1, sorted=1)
        cumulative = graph.op("CumSum", ordered, self._cumsum_axis)
        # The mass of the kept tokens is the cumulative probability at the first rank after which none is kept.
        continues = graph.op("Less", cumulative, mass_limit)
        mass = graph.op("ReduceMin", graph.op("Where", continues, self._above_one, cumulative), axes=[1], keepdims=1)
        passed = graph.op("Less", cumulative, graph.op("Mul", uniform, mass))
        rank = graph.op("ReduceSum", graph.op("Cast", passed, to=TensorProto.INT64), graph.integers(1), keepdims=1)
        return graph.op("GatherElements", ids, rank, axis=1)


class _TopPBound:
    """An upper bound of the number of tokens that top-p keeps, from the shares alone, without sorting.

    Tokens below a share s can be left out if the others sum to top-p: the most likely tokens reach top-p before them.
    If s is (1 - top-p) / 2 / vocabulary, this always holds: all tokens below s sum to less than half of what top-p
    leaves. A greater s is tried first. The margins are far above the rounding of the sums, except for a top-p near 1,
    for which all tokens are sorted.
    """

    def __init__(self, graph: Graph, top_p: str) -> None:
        self._graph = graph
        zero, one = (graph.constant(np.array(value, np.float32)) for value in (0.0, 1.0))
        rest = graph.op("Sub", one, top_p)
        leaves = graph.op("Less", top_p, graph.constant(np.array(_MAX_BOUNDED_TOP_P, np.float32)))
        self._safe = self._scaled(graph.op("Where", leaves, rest, zero), 0.5 / graph.weights.vocabulary)
        self._tried = self._scaled(rest, _TRIED_SHARE)
        # No sum of shares is as much as 2.
        enough = graph.op("Add", top_p, self._scaled(rest, _TRIED_MARGIN))
        self._enough = graph.op("Where", leaves, enough, graph.constant(np.array(2.0, np.float32)))

    def count(self, shares: str) -> str:
        """The bound for all rows of shares (batch, vocabulary): (1,) int64."""
        graph = self._graph
        likely = graph.op("Mul", shares, self._reached(shares, self._tried))
        mass = graph.op("ReduceSum", likely, graph.integers(1), keepdims=1)
        bound = graph.op("Where", graph.op("GreaterOrEqual", mass, self._enough), self._tried, self._safe)
        by_row = graph.op("ReduceSum", self._reached(shares, bound), graph.integers(1), keepdims=0)
        return graph.op("Cast", graph.op("ReduceMax", by_row, axes=[0], keepdims=1), to=TensorProto.INT64)

    def _reached(self, shares: str, bound: str) -> str:
        """1 for each share from the bound on, else 0: (batch, vocabulary) float32, of which sums are fast."""
        graph = self._graph
        return graph.op("Cast", graph.op("GreaterOrEqual", shares, bound), to=TensorProto.FLOAT)

    def _scaled(self, value: str, factor: float) -> str:
        return self._graph.op("Mul", value, self._graph.constant(np.array(factor, np.float32)))


def bounded_below(graph: Graph, logits: str, *, axis: int) -> tuple[str, str]:
    """The logits less the greatest one along an axis, and the same with the lower bound `-_DEPTH`.

    A CPU takes much longer for exponentials that underflow. The bound adds nothing to a sum of exponentials: the
    greatest is 1, and all that the bound lifts are less than half a unit in the last place of it.
    """
    shifted = graph.op("Sub", logits, graph.op("ReduceMax", logits, axes=[axis], keepdims=1))
    return shifted, graph.op("Max", shifted, graph.constant(np.array(-_DEPTH, np.float32)))
