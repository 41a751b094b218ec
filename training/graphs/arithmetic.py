"""The matrix products of a step: in float32, or in int8 with scales that are fixed beforehand."""

from typing import Final, Protocol

import numpy as np

from server.engine.precision import Precision
from training.graphs.builder import MICROSOFT, Graph
from training.graphs.weights import GATES, LEVELS, ZERO_POINT


class Arithmetic(Protocol):
    """Products of activations, each within (-1, 1) or near it, with the network's weights."""

    def taken(self, value: str) -> str:
        """Activations (batch, width) float32 in the form in which the products take them."""

    def gates(self, layer: int, below: str, recurrent: str) -> list[str]:
        """Pre-activations of a layer, (batch, hidden) float32 for each of `GATES`, from below and from itself."""

    def output(self, seen: list[str]) -> str:
        """Output projection (batch, outputs) float32 of all that the outputs see."""


class Float32:
    """The weights as they were trained; `prefill` reads the same bytes."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def taken(self, value: str) -> str:
        """See `Arithmetic.taken`."""
        return value

    def gates(self, layer: int, below: str, recurrent: str) -> list[str]:
        """See `Arithmetic.gates`."""
        graph = self._graph
        values = graph.op("Gemm", below, graph.weight(f"input_{layer}"), graph.weight(f"bias_{layer}"), transB=1)
        gates = graph.op("Gemm", recurrent, graph.weight(f"recurrent_{layer}"), values, transB=1)
        return graph.ops("Split", gates, graph.integers(*[graph.weights.hidden] * len(GATES)), count=len(GATES), axis=1)

    def output(self, seen: list[str]) -> str:
        """See `Arithmetic.output`."""
        graph = self._graph
        values = graph.op("Concat", *seen, axis=1) if len(seen) > 1 else seen[0]
        return graph.op("Gemm", values, graph.weight("output"), graph.weight("output_bias"), transB=1)


class Int8:
    """Unsigned activations at the fixed scale 1/127, signed weights with a scale for each column, summed in int32.

    h = o * tanh(c) lies within (-1, 1), and the embeddings are stored in units of what they reach, so one scale serves
    them all and no row's depends on another's: dynamic quantisation takes its scale from the whole batch, and an answer
    would change with its company. Sums of int8 products are exact in whatever order they are taken.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._scale = graph.constant(np.array(1 / LEVELS, np.float32))
        self._zero = graph.constant(np.array(ZERO_POINT, np.uint8))

    def taken(self, value: str) -> str:
        """See `Arithmetic.taken`."""
        return self._graph.op("QuantizeLinear", value, self._scale, self._zero)

    def gates(self, layer: int, below: str, recurrent: str) -> list[str]:
        """See `Arithmetic.gates`; a product for each costs what one for all does, and saves cutting it apart."""
        both = self._graph.op("Concat", below, recurrent, axis=1)
        names = [
            (f"layer_{layer}_int8_{gate}", f"layer_{layer}_scale_{gate}", f"bias_{layer}_{gate}") for gate in GATES
        ]
        return [self._product(both, *name) for name in names]

    def output(self, seen: list[str]) -> str:
        """See `Arithmetic.output`."""
        values = self._graph.op("Concat", *seen, axis=1) if len(seen) > 1 else seen[0]
        return self._product(values, "output_int8", "output_scale", "output_bias")

    def _product(self, values: str, weights: str, scale: str, bias: str) -> str:
        graph = self._graph
        return graph.op(
            "MatMulIntegerToFloat",
            values,
            graph.weight(weights),
            self._scale,
            graph.weight(scale),
            self._zero,
            "",
            graph.weight(bias),
            domain=MICROSOFT,
        )


ARITHMETIC: Final[dict[Precision, type[Float32 | Int8]]] = {"float32": Float32, "int8": Int8}
