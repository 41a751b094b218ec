"""`music.array_operations.ArrayOperations` that record nodes of a graph."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from training.graphs.builder import Graph

_SHARED_BYTES: Final = 1024
"""A larger table lies in the file of weights, which all graphs share."""


@dataclass(frozen=True, slots=True, eq=False)
class GraphValue:
    """A value of a graph, with the operators of an array. Numbers and arrays become constants of its type."""

    graph: Graph
    name: str
    dtype: np.dtype[Any]

    def __add__(self, other: Any) -> "GraphValue":
        return self._with("Add", other)

    def __sub__(self, other: Any) -> "GraphValue":
        return self._with("Sub", other)

    def __mul__(self, other: Any) -> "GraphValue":
        return self._with("Mul", other)

    def __floordiv__(self, other: Any) -> "GraphValue":
        """Rounds down; the operand must not be negative."""
        return self._with("Div", other)

    def __mod__(self, other: Any) -> "GraphValue":
        return self._with("Mod", other)

    def __lt__(self, other: Any) -> "GraphValue":
        return self._with("Less", other, np.dtype(np.bool_))

    def __le__(self, other: Any) -> "GraphValue":
        return self._with("LessOrEqual", other, np.dtype(np.bool_))

    def __gt__(self, other: Any) -> "GraphValue":
        return self._with("Greater", other, np.dtype(np.bool_))

    def __ge__(self, other: Any) -> "GraphValue":
        return self._with("GreaterOrEqual", other, np.dtype(np.bool_))

    def __eq__(self, other: object) -> "GraphValue":  # type: ignore[override]  # as arrays do
        return self._with("Equal", other, np.dtype(np.bool_))

    def __ne__(self, other: object) -> "GraphValue":  # type: ignore[override]
        return ~(self == other)

    def __and__(self, other: Any) -> "GraphValue":
        return self._with("And", other)

    def __or__(self, other: Any) -> "GraphValue":
        return self._with("Or", other)

    def __invert__(self) -> "GraphValue":
        return GraphValue(self.graph, self.graph.op("Not", self.name), self.dtype)

    __hash__ = None  # type: ignore[assignment]

    def _with(self, kind: str, other: Any, dtype: np.dtype[Any] | None = None) -> "GraphValue":
        name = self.graph.op(kind, self.name, self.like(other).name)
        return GraphValue(self.graph, name, dtype or self.dtype)

    def like(self, value: Any) -> "GraphValue":
        """Another value of this type: a value of the graph, or a number as a constant."""
        if isinstance(value, GraphValue):
            assert value.dtype == self.dtype, f"{value.dtype} with {self.dtype}"
            return value
        return GraphValue(self.graph, self.graph.constant(np.asarray(value, self.dtype)), self.dtype)


class GraphOperations:
    """Records the operations. See `music.array_operations.ArrayOperations`."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._splits: dict[tuple[str, tuple[int, ...]], list[str]] = {}

    def value(self, name: str, dtype: type[np.generic]) -> GraphValue:
        """A value of the graph by its name."""
        return GraphValue(self._graph, name, np.dtype(dtype))

    def constant(self, value: NDArray[Any]) -> GraphValue:
        """See `ArrayOperations.constant`."""
        return GraphValue(self._graph, self._table(value), value.dtype)

    def where(self, condition: GraphValue, chosen: Any, other: Any) -> GraphValue:
        """See `ArrayOperations.where`. One of the values must be a value of the graph."""
        typed = chosen if isinstance(chosen, GraphValue) else other
        name = self._graph.op("Where", condition.name, typed.like(chosen).name, typed.like(other).name)
        return GraphValue(self._graph, name, typed.dtype)

    def minimum(self, one: GraphValue, other: Any) -> GraphValue:
        """See `ArrayOperations.minimum`."""
        return self._op("Min", one, one.like(other))

    def maximum(self, one: GraphValue, other: Any) -> GraphValue:
        """See `ArrayOperations.maximum`."""
        return self._op("Max", one, one.like(other))

    def take(self, table: NDArray[Any], index: GraphValue) -> GraphValue:
        """See `ArrayOperations.take`."""
        return GraphValue(self._graph, self._graph.op("Gather", self._table(table), index.name), table.dtype)

    def pick(self, array: GraphValue, index: GraphValue) -> GraphValue:
        """See `ArrayOperations.pick`."""
        return self._op("GatherElements", array, index, axis=-1)

    def put(self, array: GraphValue, index: GraphValue, values: GraphValue) -> GraphValue:
        """See `ArrayOperations.put`."""
        return self._op("ScatterElements", array, index, values, axis=-1)

    def concatenate(self, parts: Sequence[GraphValue]) -> GraphValue:
        """See `ArrayOperations.concatenate`."""
        assert len({part.dtype for part in parts}) == 1
        return self._op("Concat", *parts, axis=-1) if len(parts) > 1 else parts[0]

    def split(self, array: GraphValue, widths: Sequence[int]) -> list[GraphValue]:
        """See `ArrayOperations.split`. The same split of the same value has one node."""
        graph, key = self._graph, (array.name, tuple(widths))
        if key not in self._splits:
            sizes = graph.integers(*widths)
            self._splits[key] = graph.ops("Split", array.name, sizes, count=len(widths), axis=-1)
        return [GraphValue(graph, name, array.dtype) for name in self._splits[key]]

    def columns(self, array: GraphValue, indices: Sequence[int]) -> GraphValue:
        """See `ArrayOperations.columns`."""
        name = self._graph.op("Gather", array.name, self._graph.integers(*indices), axis=-1)
        return GraphValue(self._graph, name, array.dtype)

    def slice(self, array: GraphValue, start: int, stop: int) -> GraphValue:
        """See `ArrayOperations.slice`."""
        graph = self._graph
        ends = (graph.integers(start), graph.integers(stop), graph.integers(-1))
        return GraphValue(graph, graph.op("Slice", array.name, *ends), array.dtype)

    def sum(self, array: GraphValue) -> GraphValue:
        """See `ArrayOperations.sum`."""
        graph = self._graph
        return GraphValue(graph, graph.op("ReduceSum", array.name, graph.integers(-1), keepdims=1), array.dtype)

    def least(self, array: GraphValue) -> GraphValue:
        """See `ArrayOperations.least`."""
        return self._op("ReduceMin", array, axes=[-1], keepdims=1)

    def greatest(self, array: GraphValue) -> GraphValue:
        """See `ArrayOperations.greatest`."""
        return self._op("ReduceMax", array, axes=[-1], keepdims=1)

    def reshape(self, array: GraphValue, *shape: int) -> GraphValue:
        """See `ArrayOperations.reshape`."""
        name = self._graph.op("Reshape", array.name, self._graph.integers(-1, *shape))
        return GraphValue(self._graph, name, array.dtype)

    def cast(self, array: GraphValue, dtype: type[np.generic]) -> GraphValue:
        """See `ArrayOperations.cast`."""
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return GraphValue(self._graph, self._graph.op("Cast", array.name, to=kind), np.dtype(dtype))

    def _op(self, kind: str, first: GraphValue, *others: GraphValue, **attributes: Any) -> GraphValue:
        name = self._graph.op(kind, first.name, *(value.name for value in others), **attributes)
        return GraphValue(self._graph, name, first.dtype)

    def _table(self, table: NDArray[Any]) -> str:
        return self._graph.constant(table) if table.nbytes < _SHARED_BYTES else self._graph.shared(table)
