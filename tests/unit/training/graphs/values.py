"""Runs array operations as a graph."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from training.graphs.builder import Graph
from training.graphs.operations import GraphOperations, GraphValue


class SharedTables:
    """In place of `training.graphs.weights.Weights`: tables lie in the graph itself."""

    def __init__(self) -> None:
        self._tables: dict[str, NDArray[Any]] = {}

    def add_table(self, name: str, array: NDArray[Any]) -> None:
        self._tables[name] = array

    def tensor(self, name: str, shape: tuple[int, ...] | None, alias: str) -> onnx.TensorProto:
        array = self._tables[name]
        return numpy_helper.from_array(array if shape is None else array.reshape(shape), alias)


def run_graph(work: Callable[..., Sequence[GraphValue]], values: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """The results of `work(ops, *values)` for values (batch, ...), with a batch of any size."""
    graph = Graph("test", SharedTables())  # type: ignore[arg-type]
    ops = GraphOperations(graph)
    inputs = []
    for index, value in enumerate(values):
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        inputs.append(ops.value(graph.input(f"input_{index}", kind, ("batch", *value.shape[1:])), value.dtype.type))
    outputs = work(ops, *inputs)
    for index, output in enumerate(outputs):
        kind = helper.np_dtype_to_tensor_dtype(output.dtype)
        graph.nodes.append(helper.make_node("Identity", [output.name], [f"output_{index}"]))
        graph.outputs.append(helper.make_tensor_value_info(f"output_{index}", kind, None))
    model = graph.model()
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[NDArray[Any]] = session.run(
        None, {f"input_{index}": np.ascontiguousarray(value) for index, value in enumerate(values)}
    )
    return found
