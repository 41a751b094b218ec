"""The matrix products of a decode step, in float32 or in int8 with fixed scales."""

from typing import Final, Protocol

import numpy as np
from onnx import TensorProto

from runtime.precision import Precision
from training.graphs.builder import MICROSOFT, Graph
from training.graphs.weights import GATES, LEVELS, ZERO_POINT


class Arithmetic(Protocol):
    """Multiplies activations with the network's weights. Activations lie within (-1, 1) or near it."""

    def activations(self, value: str) -> str:
        """Convert activations (batch, width) float32 to the type that the products take."""

    def gates(self, layer: int, below: str, recurrent: str) -> list[str]:
        """Pre-activations of a layer, (batch, hidden) float32 for each of `GATES`.

        Args:
            layer: index of the layer.
            below: activations of the layer below.
            recurrent: activations of the layer itself in the step before.
        """

    def output(self, inputs: list[str]) -> str:
        """Output projection (batch, outputs) float32 of the concatenated activations."""

    def keys(self, sets: str, embedded: str) -> str:
        """Add the embedding of sets of keys (batch, columns) float32, each 0 or 1, to (batch, embedding) float32."""


class Float32:
    """float32 products with the trained weights; `prefill` reads the same bytes."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def activations(self, value: str) -> str:
        """See `Arithmetic.activations`."""
        return value

    def gates(self, layer: int, below: str, recurrent: str) -> list[str]:
        """See `Arithmetic.gates`."""
        graph = self._graph
        values = graph.op("Gemm", below, graph.weight(f"input_{layer}"), graph.weight(f"bias_{layer}"), transB=1)
        gates = graph.op("Gemm", recurrent, graph.weight(f"recurrent_{layer}"), values, transB=1)
        return graph.ops("Split", gates, graph.integers(*[graph.weights.hidden] * len(GATES)), count=len(GATES), axis=1)

    def output(self, inputs: list[str]) -> str:
        """See `Arithmetic.output`."""
        graph = self._graph
        values = graph.op("Concat", *inputs, axis=1) if len(inputs) > 1 else inputs[0]
        return graph.op("Gemm", values, graph.weight("output"), graph.weight("output_bias"), transB=1)

    def keys(self, sets: str, embedded: str) -> str:
        """See `Arithmetic.keys`.

        ONNX Runtime would fuse a product and a sum where it knows all shapes, which is only in the first step of a
        graph. A fused sum is rounded otherwise, so a row would depend on the division into chunks.
        """
        return self._graph.op("Gemm", sets, self._graph.weight("note_window"), embedded)


class Int8:
    """int8 products: unsigned activations with the fixed scale 1/127, signed weights with a scale per output.

    h = o * tanh(c) lies within (-1, 1), and the embeddings are divided by their range, so one fixed scale suits all
    activations. Dynamic quantisation would take its scale from the whole batch, and a row's result would depend on the
    other rows. Sums of int8 products in int32 are exact in any order.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._scale = graph.constant(np.array(1 / LEVELS, np.float32))
        self._zero = graph.constant(np.array(ZERO_POINT, np.uint8))

    def activations(self, value: str) -> str:
        """See `Arithmetic.activations`."""
        return self._graph.op("QuantizeLinear", value, self._scale, self._zero)

    def gates(self, layer: int, below: str, recurrent: str) -> list[str]:
        """See `Arithmetic.gates`. One product per gate costs the same as one for all, and needs no Split."""
        both = self._graph.op("Concat", below, recurrent, axis=1)
        names = [
            (f"layer_{layer}_int8_{gate}", f"layer_{layer}_scale_{gate}", f"bias_{layer}_{gate}") for gate in GATES
        ]
        return [self._product(both, *name) for name in names]

    def output(self, inputs: list[str]) -> str:
        """See `Arithmetic.output`."""
        values = self._graph.op("Concat", *inputs, axis=1) if len(inputs) > 1 else inputs[0]
        return self._product(values, "output_int8", "output_scale", "output_bias")

    def keys(self, sets: str, embedded: str) -> str:
        """See `Arithmetic.keys`. Zeros and ones are exact in int8."""
        graph = self._graph
        product = graph.op(
            "MatMulIntegerToFloat",
            graph.op("Cast", sets, to=TensorProto.UINT8),
            graph.weight("note_window_int8"),
            graph.constant(np.array(1.0, np.float32)),
            graph.weight("note_window_scale"),
            graph.constant(np.array(0, np.uint8)),
            "",
            "",
            domain=MICROSOFT,
        )
        return graph.op("Add", embedded, product)

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
