"""Builds an ONNX graph node by node."""

import hashlib
from collections.abc import Sequence
from functools import partial, reduce
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from music.graph_names import POSITION_EMBEDDING
from training.graphs.weights import Weights

OPSET: Final = 17
VIEWED: Final = "_viewed"
"""Suffix of an initializer that is a view of another one's bytes in another shape."""
MICROSOFT: Final = "com.microsoft"
"""Domain of ONNX Runtime's own operators."""
_MICROSOFT_OPSET: Final = 1


class Graph:
    """Nodes, initializers, inputs and outputs. A method that adds a node returns the name of its result."""

    def __init__(self, name: str, weights: Weights) -> None:
        self.name = name
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, kind: int, shape: tuple[int | str, ...]) -> str:
        """Add an input."""
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def default(self, name: str, value: NDArray[np.generic]) -> str:
        """Add an input with a default value."""
        self.inputs.append(
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        )
        self.initializers[name] = numpy_helper.from_array(value, name)
        return name

    def output(self, value: str, name: str, kind: int, shape: tuple[int | str, ...]) -> None:
        """Add an output."""
        self.nodes.append(helper.make_node("Identity", [value], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def weight(self, name: str, shape: tuple[int, ...] | None = None) -> str:
        """Refer to an array in the file of weights; `shape` views the same bytes in another shape."""
        alias = name if shape is None else name + VIEWED
        self.initializers.setdefault(alias, self.weights.tensor(name, shape, alias))
        return alias

    def constant(self, value: NDArray[np.generic]) -> str:
        """Add a small array to the graph itself; equal arrays are stored once."""
        name = _constant_name(value)
        self.initializers.setdefault(name, numpy_helper.from_array(value, name))
        return name

    def shared(self, value: NDArray[np.generic]) -> str:
        """Refer to a constant array that lies in the file of weights, where all graphs find it."""
        name = _constant_name(value)
        self.weights.add_table(name, value)
        return self.weight(name)

    def integers(self, *values: int) -> str:
        """Add a constant (n,) int64."""
        return self.constant(np.array(values, np.int64))

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one result."""
        return self.ops(kind, *inputs, count=1, **attributes)[0]

    def named(self, name: str, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node whose result is called `name`, so that tools can find it."""
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def ops(self, kind: str, *inputs: str, count: int, **attributes: Any) -> list[str]:
        """Add a node with `count` results."""
        # Short names: they are much of the size of a graph.
        names = [f"v{len(self.nodes)}"] if count == 1 else [f"v{len(self.nodes)}_{index}" for index in range(count)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def split(self, value: str, parts: int, *, axis: int) -> list[str]:
        """Split an axis of length `parts` into slices of length 1; the axis stays."""
        if parts == 1:
            return [value]
        return self.ops("Split", value, self.integers(*[1] * parts), count=parts, axis=axis)

    def squeeze(self, value: str, axis: int) -> str:
        """Remove an axis of length 1."""
        return self.op("Squeeze", value, self.integers(axis))

    def unsqueeze(self, value: str, axis: int) -> str:
        """Add an axis of length 1."""
        return self.op("Unsqueeze", value, self.integers(axis))

    def embedding(self, previous: str, position: str, grammar: Sequence[str]) -> str:
        """Sum of the embeddings that every network has: of the token, the position and perhaps the grammar's state.

        Args:
            previous: (...) int64, the token before.
            position: (...) int64, the position index.
            grammar: (...), the states of the automata that have features; none for a network without these features.

        Returns:
            (..., embedding) float32.
        """
        values = self.op(
            "Add",
            self.op("Gather", self.weight("rows_token"), previous),
            self.op("Gather", self.weight(POSITION_EMBEDDING), position),
        )
        if not grammar:
            return values
        features = [
            self.op("Gather", self.weight(f"grammar_features_{index}"), state) for index, state in enumerate(grammar)
        ]
        indices = reduce(partial(self.op, "Add"), features)
        if len(features) > 1:  # a forced token that is not legal may lead to states that never meet else
            last = self.weights.grammar_rows - 1
            indices = self.op("Min", indices, self.constant(np.array(last, np.int32)))
        rows = self.op("Gather", self.weight("rows_grammar"), indices)
        return self.op("Add", values, self.op("ReduceSum", rows, self.integers(-2), keepdims=0))

    def model(self) -> onnx.ModelProto:
        """The finished model."""
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, list(self.initializers.values()))
        opsets = [helper.make_opsetid("", OPSET)]
        if any(node.domain == MICROSOFT for node in self.nodes):
            opsets.append(helper.make_opsetid(MICROSOFT, _MICROSOFT_OPSET))
        return helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="fantasia")


def _constant_name(value: NDArray[np.generic]) -> str:
    shape = "x".join(map(str, value.shape))
    return f"{value.dtype}_{shape}_{hashlib.sha256(value.tobytes()).hexdigest()[:12]}"
