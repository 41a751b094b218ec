"""The remaining length in the graphs: embeddings of its features, and the countdown of the decode graph."""

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from music.remaining_length import UNKNOWN, RemainingLength
from training.graphs.builder import Graph


def remaining_embedding(graph: Graph, remaining: str, unknown: str, positions: str) -> str:
    """Sum of the embedded features (..., embedding) float32; see `music.remaining_length.RemainingLength.features`.

    Args:
        graph: to add the nodes to.
        remaining: (...) int64, remaining lengths.
        unknown: (...) bool, which of them are not known.
        positions: (...) int64, position indices.
    """
    counted = graph.weights.remaining
    assert counted is not None
    embedded = []
    for index, limit in enumerate(counted.limits):
        # One more divisor rounds up, and one makes room for the value of an unknown length.
        added = graph.op("Gather", graph.weight(f"remaining_addend_{index}"), positions)
        divisor = graph.op("Gather", graph.weight(f"remaining_divisor_{index}"), positions)
        value = graph.op("Div", graph.op("Add", remaining, added), divisor)
        value = graph.op("Min", value, graph.integers(1 + limit))
        value = graph.op("Where", unknown, graph.integers(0), value)
        embedded.append(graph.op("Gather", graph.weight(f"rows_remaining_{index}"), value))
    return embedded[0] if len(embedded) == 1 else graph.op("Sum", *embedded)


def is_unknown(graph: Graph, remaining: str) -> str:
    """Which of the remaining lengths are not known, (...) bool."""
    return graph.op("Equal", remaining, graph.integers(UNKNOWN))


class DecodeRemaining:
    """The remaining length of each row in a decode graph, step by step.

    If every token counts, the embeddings of all steps are found at once: nodes in every step would cost more.

    Args:
        graph: to add the nodes to.
        remaining: (batch,) int64, before the first step.
        positions: of each step, position indices (batch,) int64.
    """

    def __init__(self, graph: Graph, remaining: str, positions: Sequence[str]) -> None:
        counted = graph.weights.remaining
        assert counted is not None
        self._graph = graph
        self._counted: RemainingLength = counted
        self._remaining = remaining
        self._unknown = is_unknown(graph, remaining)
        self._positions = positions
        self._embedded = [] if counted.unit_token is not None else self._every_step()

    def embedding(self, step: int) -> str:
        """The embedding (batch, embedding) float32 of a step; call `advance` before the next one."""
        if self._embedded:
            return self._embedded[step]
        return remaining_embedding(self._graph, self._remaining, self._unknown, self._positions[step])

    def advance(self, token: str) -> None:
        """Count the tokens (batch,) int64 of a step."""
        unit, graph = self._counted.unit_token, self._graph
        if unit is not None:
            ended = graph.op("Cast", graph.op("Equal", token, graph.integers(unit)), to=TensorProto.INT64)
            self._remaining = self._less(self._remaining, self._unknown, ended)

    def after(self) -> str:
        """The remaining length (batch,) int64 after the last step."""
        if not self._embedded:
            return self._remaining
        return self._less(self._remaining, self._unknown, self._graph.integers(len(self._positions)))

    def _less(self, remaining: str, unknown: str, counted: str) -> str:
        graph = self._graph
        left = graph.op("Max", graph.op("Sub", remaining, counted), graph.integers(0))
        return graph.op("Where", unknown, remaining, left)

    def _every_step(self) -> list[str]:
        graph, steps = self._graph, len(self._positions)
        counted = graph.constant(np.arange(steps, dtype=np.int64)[:, None])
        remaining = graph.unsqueeze(self._remaining, 0)
        unknown = graph.op("Expand", graph.unsqueeze(self._unknown, 0), graph.integers(steps, 1))
        by_step = graph.op("Reshape", self._less(remaining, unknown, counted), graph.integers(-1))
        positions = graph.op("Concat", *self._positions, axis=0) if steps > 1 else self._positions[0]
        unknown = graph.op("Reshape", unknown, graph.integers(-1))
        embedded = remaining_embedding(graph, by_step, unknown, positions)
        return graph.ops("Split", embedded, count=steps, axis=0) if steps > 1 else [embedded]
