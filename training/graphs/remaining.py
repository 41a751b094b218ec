"""The remaining length in the graphs: embeddings of its features, and the countdown of the decode graph."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from onnx import TensorProto

from music.remaining_length import UNKNOWN, RemainingLength
from training.graphs.builder import Graph

CLOSING_BARS: Final = 1
"""Last bars of a piece that have the closing temperature."""


def remaining_values(graph: Graph, remaining: str, unknown: str, positions: str) -> list[str]:
    """Each feature (...) int64 of remaining lengths; see `music.remaining_length.RemainingLength.features`.

    Args:
        graph: to add the nodes to.
        remaining: (...) int64, remaining lengths.
        unknown: (...) bool, which of them are not known.
        positions: (...) int64, position indices.
    """
    counted = graph.weights.remaining
    assert counted is not None
    values = []
    for index, limit in enumerate(counted.limits):
        # One more divisor rounds up, and one makes room for the value of an unknown length.
        added = graph.op("Gather", graph.weight(f"remaining_addend_{index}"), positions)
        divisor = graph.op("Gather", graph.weight(f"remaining_divisor_{index}"), positions)
        value = graph.op("Div", graph.op("Add", remaining, added), divisor)
        value = graph.op("Min", value, graph.integers(1 + limit))
        values.append(graph.op("Where", unknown, graph.integers(0), value))
    return values


def remaining_embedding(graph: Graph, values: Sequence[str]) -> str:
    """Sum of the embeddings (..., embedding) float32 of the features that `remaining_values` returns."""
    rows = [graph.op("Gather", graph.weight(f"rows_remaining_{index}"), value) for index, value in enumerate(values)]
    return rows[0] if len(rows) == 1 else graph.op("Sum", *rows)


def is_unknown(graph: Graph, remaining: str) -> str:
    """Which of the remaining lengths are not known, (...) bool."""
    return graph.op("Equal", remaining, graph.integers(UNKNOWN))


class DecodeRemaining:
    """The remaining length of each row in a decode graph, step by step.

    If every token counts, what all steps need is found at once: nodes in every step would cost more.

    Args:
        graph: to add the nodes to.
        remaining: (batch,) int64, before the first step.
        positions: of each step, position indices (batch,) int64.
        closing_temperature: factor of the temperature in the last bar of a piece of known length.
    """

    def __init__(
        self, graph: Graph, remaining: str, positions: Sequence[str], closing_temperature: float = 1.0
    ) -> None:
        counted = graph.weights.remaining
        assert counted is not None
        self._graph = graph
        self._counted: RemainingLength = counted
        self._remaining = remaining
        self._unknown = is_unknown(graph, remaining)
        self._positions = positions
        self._sharpness = _closing_sharpness(graph, counted, closing_temperature)
        self._steps = [] if counted.unit_token is not None else self._every_step()

    def step(self, step: int) -> tuple[str, str | None]:
        """What a step needs; call `advance` before the next one.

        Returns:
            the embedding (batch, embedding) float32; and the factor (batch, 1) float32 of the logits, if there is one.
        """
        if self._steps:
            return self._steps[step]
        values = remaining_values(self._graph, self._remaining, self._unknown, self._positions[step])
        return remaining_embedding(self._graph, values), self._factors(values)

    def advance(self, token: str) -> None:
        """Count the tokens (batch,) int64 of a step."""
        unit, graph = self._counted.unit_token, self._graph
        if unit is not None:
            ended = graph.op("Cast", graph.op("Equal", token, graph.integers(unit)), to=TensorProto.INT64)
            self._remaining = self._less(self._remaining, self._unknown, ended)

    def after(self) -> str:
        """The remaining length (batch,) int64 after the last step."""
        if not self._steps:
            return self._remaining
        return self._less(self._remaining, self._unknown, self._graph.integers(len(self._positions)))

    def _less(self, remaining: str, unknown: str, counted: str) -> str:
        graph = self._graph
        left = graph.op("Max", graph.op("Sub", remaining, counted), graph.integers(0))
        return graph.op("Where", unknown, remaining, left)

    def _factors(self, values: Sequence[str]) -> str | None:
        if self._sharpness is None:
            return None
        return self._graph.unsqueeze(self._graph.op("Gather", self._sharpness, values[-1]), 1)

    def _every_step(self) -> list[tuple[str, str | None]]:
        graph, steps = self._graph, len(self._positions)
        counted = graph.constant(np.arange(steps, dtype=np.int64)[:, None])
        remaining = graph.unsqueeze(self._remaining, 0)
        unknown = graph.op("Expand", graph.unsqueeze(self._unknown, 0), graph.integers(steps, 1))
        by_step = graph.op("Reshape", self._less(remaining, unknown, counted), graph.integers(-1))
        positions = graph.op("Concat", *self._positions, axis=0) if steps > 1 else self._positions[0]
        unknown = graph.op("Reshape", unknown, graph.integers(-1))
        values = remaining_values(graph, by_step, unknown, positions)
        embedded, factors = remaining_embedding(graph, values), self._factors(values)
        if steps == 1:
            return [(embedded, factors)]
        split = graph.ops("Split", embedded, count=steps, axis=0)
        by_factor = [None] * steps if factors is None else graph.ops("Split", factors, count=steps, axis=0)
        return list(zip(split, by_factor, strict=True))


def _closing_sharpness(graph: Graph, counted: RemainingLength, temperature: float) -> str | None:
    """The factor of the logits for each value of the feature that counts bars; None if it is 1 throughout."""
    if temperature == 1.0:
        return None
    factors = np.ones(counted.feature_sizes[-1], np.float32)
    factors[1 : 2 + CLOSING_BARS] = 1 / temperature
    return graph.constant(factors)
