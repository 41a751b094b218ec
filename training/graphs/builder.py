"""An ONNX graph under construction."""

import hashlib
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from training.graphs.weights import Weights

OPSET: Final = 17
MICROSOFT: Final = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""
_MICROSOFT_OPSET: Final = 1


class Graph:
    """Nodes, initializers, inputs and outputs; every method that adds a node returns the name of its result."""

    def __init__(self, name: str, weights: Weights) -> None:
        self.name = name
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, kind: int, shape: tuple[int | str, ...]) -> str:
        """A named input."""
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def default(self, name: str, value: NDArray[np.generic]) -> str:
        """A named input that has a value where it is not given."""
        self.inputs.append(
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        )
        self.initializers[name] = numpy_helper.from_array(value, name)
        return name

    def output(self, value: str, name: str, kind: int, shape: tuple[int | str, ...]) -> None:
        """A named output."""
        self.nodes.append(helper.make_node("Identity", [value], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def weight(self, name: str, shape: tuple[int, ...] | None = None) -> str:
        """An array of the file of weights; `shape` may view the same bytes in another way."""
        alias = name if shape is None else f"{name}_viewed"
        self.initializers.setdefault(alias, self.weights.tensor(name, shape, alias))
        return alias

    def constant(self, value: NDArray[np.generic]) -> str:
        """A small array that lies in the graph itself, once however often it is asked for."""
        shape = "x".join(map(str, value.shape))
        name = f"{value.dtype}_{shape}_{hashlib.sha256(value.tobytes()).hexdigest()[:12]}"
        self.initializers.setdefault(name, numpy_helper.from_array(value, name))
        return name

    def integers(self, *values: int) -> str:
        """A constant (n,) int64."""
        return self.constant(np.array(values, np.int64))

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node with one result."""
        return self.ops(kind, *inputs, count=1, **attributes)[0]

    def named(self, name: str, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node with one result that is called `name`, for those who look into the graph."""
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def ops(self, kind: str, *inputs: str, count: int, **attributes: Any) -> list[str]:
        """A node with `count` results."""
        names = [f"{kind}_{len(self.nodes)}_{index}" for index in range(count)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def split(self, value: str, parts: int, *, axis: int) -> list[str]:
        """`parts` slices of length 1 along an axis, which stays."""
        if parts == 1:
            return [value]
        return self.ops("Split", value, self.integers(*[1] * parts), count=parts, axis=axis)

    def squeezed(self, value: str, axis: int) -> str:
        """Without an axis of length 1."""
        return self.op("Squeeze", value, self.integers(axis))

    def unsqueezed(self, value: str, axis: int) -> str:
        """With one more axis of length 1."""
        return self.op("Unsqueeze", value, self.integers(axis))

    def model(self) -> onnx.ModelProto:
        """The finished graph."""
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, list(self.initializers.values()))
        opsets = [helper.make_opsetid("", OPSET)]
        if any(node.domain == MICROSOFT for node in self.nodes):
            opsets.append(helper.make_opsetid(MICROSOFT, _MICROSOFT_OPSET))
        return helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="fantasia")
