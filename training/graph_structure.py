"""Reads the structure of a network from its ONNX decode graph.

It assumes only the form of an LSTM cell (Hochreiter and Schmidhuber, 1997; Gers et al., 2000):
h = o * tanh(f * c + i * tanh(g)).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import onnx

from training.errors import ExportError

_TOKENS: Final = "tokens"
_DATA_MOVEMENT: Final = {"Identity", "Split", "Squeeze", "Unsqueeze", "Concat", "Reshape", "Slice", "Transpose"}
_ACTIVATIONS: Final = {"Sigmoid", "HardSigmoid", "Tanh"}
_DATA_OPERAND: Final = {"Gather": 1, "GatherElements": 1}  # the indices; of other operators the first input


@dataclass(frozen=True, slots=True)
class WeightedNode:
    """A node that applies a weight matrix."""

    weights: str
    shape: tuple[int, ...]
    operation: str
    reads: tuple[str, ...]
    """Nearest sources of its data, sorted: inputs of the graph, cells as `cell 0`, other weights."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One LSTM cell of one step."""

    index: int
    """From 0, the lowest layer."""
    hidden: int
    recurrent: tuple[WeightedNode, ...]
    """Weights applied to its own state before the step."""
    inputs: tuple[WeightedNode, ...]
    """Weights applied to everything else on the way to the gates: tables, projections of the cell below."""
    gates: dict[str, str]
    """ONNX operator of each gate by its letter, `i`, `f`, `o` and `g`."""
    joins: dict[str, str]
    """ONNX operator that makes `forget`, `write`, `c`, `squash` and `h`."""
    state: tuple[str, str]
    """Inputs of the graph that hold its h and its c before the step."""
    state_after: tuple[str, str]
    """Outputs of the graph that hold them after it."""


@dataclass(frozen=True, slots=True)
class GraphStructure:
    """The network of one step."""

    cells: tuple[Cell, ...]
    projections: tuple[WeightedNode, ...]
    """Weights from the cells to the logits."""
    sampler: tuple[str, ...]
    """ONNX operators from the logits to the token, each once, in the order of the graph."""
    inputs: dict[str, tuple[int | str, ...]]
    outputs: dict[str, tuple[int | str, ...]]


def read_structure(path: Path) -> GraphStructure:
    """Read a decode graph with one step.

    Raises:
        ExportError: the file is not an ONNX graph, or has no LSTM cell of single nodes.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # onnx raises the errors of protobuf and of the file system
        raise ExportError(f"{path} is not an ONNX graph: {error}") from error
    structure = _Reader(model.graph).structure()
    if not structure.cells:
        raise ExportError(f"{path} has no LSTM cell of single nodes")
    return structure


@dataclass(frozen=True, slots=True)
class _CellNodes:
    """The nodes of a cell."""

    h: onnx.NodeProto
    squash: onnx.NodeProto
    c: onnx.NodeProto
    forget: onnx.NodeProto
    write: onnx.NodeProto
    candidate: onnx.NodeProto


class _Reader:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._producer = {name: node for node in graph.node for name in node.output}
        self._inputs = {value.name: _shape(value) for value in graph.input}
        self._matrices = {
            tensor.name: tuple(tensor.dims)
            for tensor in graph.initializer
            if len(tensor.dims) == 2 and min(tensor.dims) > 1
        }
        self._found = [found for node in graph.node if (found := self._cell(node)) is not None]
        self._cell_of = {found.h.output[0]: f"cell {index}" for index, found in enumerate(self._found)}

    def structure(self) -> GraphStructure:
        """The structure, found backwards from the outputs."""
        outputs = {value.name: _shape(value) for value in self._graph.output}
        cells = tuple(self._described(index, found, outputs) for index, found in enumerate(self._found))
        upstream = self._upstream([_TOKENS]) if _TOKENS in outputs else []
        projections: list[WeightedNode] = []
        sampler: list[str] = []
        depending: set[str] = set()  # values that depend on a projection
        for node in upstream:
            weighted = self._weighted(node)
            if weighted is not None and set(self._cell_of.values()) & set(weighted.reads):
                projections.append(weighted)
                depending.update(node.output)
            elif depending & set(node.input):
                depending.update(node.output)
                if node.op_type not in sampler:
                    sampler.append(node.op_type)
        return GraphStructure(cells, _merged(projections), tuple(sampler), self._inputs, outputs)

    def _cell(self, h: onnx.NodeProto) -> _CellNodes | None:
        """The cell with this node as its h = o * tanh(f * c + i * tanh(g)), or None."""
        if h.op_type != "Mul":
            return None
        for squash in self._inputs_made_by(h, "Tanh"):
            for c in self._inputs_made_by(squash, "Add"):
                products = self._inputs_made_by(c, "Mul")
                if len(products) != 2:
                    continue
                for write, forget in (products, products[::-1]):
                    for candidate in self._inputs_made_by(write, "Tanh"):
                        return _CellNodes(h, squash, c, forget, write, candidate)
        return None

    def _described(self, index: int, found: _CellNodes, outputs: Iterable[str]) -> Cell:
        output_gate = _other(found.h, found.squash)
        input_gate = _other(found.write, found.candidate)
        # The forget gate is an activation, the other factor is the state itself.
        forget_gate, before = sorted(found.forget.input, key=lambda name: self._activation(name) is None)
        (c_input,) = self._sources(before)
        nodes = self._upstream([output_gate, input_gate, forget_gate, found.candidate.input[0]])
        weighted = [item for node in nodes if (item := self._weighted(node)) is not None]
        h_inputs = [name for name, shape in self._inputs.items() if shape == self._inputs[c_input] and name != c_input]
        recurrent = tuple(item for item in weighted if len(item.reads) == 1 and item.reads[0] in h_inputs)
        ((h_input,),) = {item.reads for item in recurrent}
        return Cell(
            index=index,
            hidden=int(self._inputs[h_input][-1]),
            recurrent=recurrent,
            inputs=_merged(item for item in weighted if item not in recurrent),
            gates={
                "i": self._activation(input_gate) or "",
                "f": self._activation(forget_gate) or "",
                "o": self._activation(output_gate) or "",
                "g": found.candidate.op_type,
            },
            joins={
                "forget": found.forget.op_type,
                "write": found.write.op_type,
                "c": found.c.op_type,
                "squash": found.squash.op_type,
                "h": found.h.op_type,
            },
            state=(h_input, c_input),
            state_after=(self._carrier(found.h, outputs), self._carrier(found.c, outputs)),
        )

    def _inputs_made_by(self, node: onnx.NodeProto, operation: str) -> list[onnx.NodeProto]:
        makers = (self._producer.get(name) for name in node.input)
        return [maker for maker in makers if maker is not None and maker.op_type == operation]

    def _activation(self, name: str) -> str | None:
        """The activation that made a value, perhaps before data movement; None if there is none."""
        node = self._producer.get(name)
        while node is not None and node.op_type in _DATA_MOVEMENT:
            node = self._producer.get(node.input[0])
        return node.op_type if node is not None and node.op_type in _ACTIVATIONS else None

    def _carrier(self, node: onnx.NodeProto, outputs: Iterable[str]) -> str:
        """The output of the graph that carries the value of a node, unchanged except for data movement."""
        for output in outputs:
            names = [output]
            while names:
                name = names.pop()
                if name in node.output:
                    return output
                maker = self._producer.get(name)
                if maker is not None and maker.op_type in _DATA_MOVEMENT:
                    names += maker.input
        raise ExportError(f"{self._graph.name}: the state of an LSTM cell is not an output of the graph")

    def _weighted(self, node: onnx.NodeProto) -> WeightedNode | None:
        names = [name for name in node.input if name in self._matrices]
        if not names:
            return None
        operand = node.input[_DATA_OPERAND.get(node.op_type, 0)]
        reads = tuple(sorted(self._sources(operand)))
        return WeightedNode(names[0], self._matrices[names[0]], node.op_type, reads)

    def _sources(self, name: str) -> set[str]:
        """Nearest inputs of the graph, cells and weights that a value comes from."""
        sources, seen, names = set(), set(), [name]
        while names:
            name = names.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in self._inputs:
                sources.add(name)
            elif name in self._cell_of:
                sources.add(self._cell_of[name])
            elif name in self._producer:
                inputs = self._producer[name].input
                weights = [value for value in inputs if value in self._matrices]
                sources.update(weights[:1])
                names += [] if weights else inputs
        return sources

    def _upstream(self, names: Iterable[str]) -> list[onnx.NodeProto]:
        """The nodes that values come from, back to the nearest cells, in the order of the graph."""
        wanted, found = list(names), set()
        while wanted:
            name = wanted.pop()
            if name in self._cell_of or name not in self._producer:
                continue
            maker = self._producer[name].output[0]
            if maker not in found:
                found.add(maker)
                wanted += self._producer[name].input
        return [node for node in self._graph.node if node.output[0] in found]


def _merged(weighted: Iterable[WeightedNode]) -> tuple[WeightedNode, ...]:
    """Each matrix once, with everything that it is applied to."""
    merged: dict[str, WeightedNode] = {}
    for item in weighted:
        before = merged.get(item.weights, item)
        merged[item.weights] = replace(before, reads=tuple(sorted({*before.reads, *item.reads})))
    return tuple(merged.values())


def _other(node: onnx.NodeProto, factor: onnx.NodeProto) -> str:
    """The input of a product that `factor` did not produce."""
    return next(name for name in node.input if name not in factor.output)


def _shape(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    return tuple(d.dim_param or int(d.dim_value) for d in value.type.tensor_type.shape.dim)
