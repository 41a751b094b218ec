"""The grammar in the decode graph: one automaton, or several that advance in step."""

from collections.abc import Sequence
from functools import partial, reduce

import numpy as np
from onnx import TensorProto

from music.grammar import GRAMMAR_PENALTY
from training.graphs.builder import Graph


class Grammar:
    """Adds the nodes of a `music.grammar.Grammar`. States are (batch,) int32, one for each automaton."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def split(self, joint: str) -> list[str]:
        """The states of the automata from their joint state, one number."""
        states = split_states(self._graph, joint, self._graph.weights.automaton_states)
        return [self._graph.op("Cast", state, to=TensorProto.INT32) for state in states]

    def joint(self, states: list[str]) -> str:
        """The joint state: one number for the states of all automata."""
        graph = self._graph
        joint, *others = (graph.op("Cast", state, to=TensorProto.INT64) for state in states)
        for state, count in zip(others, graph.weights.automaton_states[1:], strict=True):
            joint = graph.op("Add", graph.op("Mul", joint, graph.integers(count)), state)
        return joint

    def mask(self, logits: str, states: list[str]) -> str:
        """Logits (batch, vocabulary) plus 0, or `GRAMMAR_PENALTY` for tokens that any automaton forbids."""
        graph = self._graph
        rows = []
        for index, state in enumerate(states):
            row = state
            if graph.weights.shared_penalties[index]:
                row = graph.op("Gather", graph.weight(f"grammar_row_{index}"), state)
            rows.append(graph.op("Gather", graph.weight(f"grammar_penalty_{index}"), row))
        penalty = rows[0]
        if len(rows) > 1:  # tables of booleans, a quarter of the bytes
            forbidden = graph.op("Cast", reduce(partial(graph.op, "Or"), rows), to=TensorProto.FLOAT)
            penalty = graph.op("Mul", forbidden, graph.constant(np.array(GRAMMAR_PENALTY, np.float32)))
        return graph.op("Add", logits, penalty)

    def advance(self, states: list[str], token: str) -> list[str]:
        """The states after the tokens (batch,)."""
        graph = self._graph
        after = []
        for index, before in enumerate(states):
            column = graph.op("Gather", graph.weight(f"grammar_column_{index}"), token)
            place = graph.op("Add", column, before)
            state = graph.op("Gather", graph.weight(f"grammar_successor_{index}"), place)
            after.append(graph.op("Cast", state, to=TensorProto.INT32) if graph.weights.narrow_successors else state)
        return after


def split_states(graph: Graph, joint: str, counts: Sequence[int]) -> list[str]:
    """The states of some automata, which have `counts` states, from their joint state (...) int64."""
    states: list[str] = []
    for count in reversed(counts[1:]):
        size = graph.integers(count)
        states.append(graph.op("Mod", joint, size))
        joint = graph.op("Div", joint, size)
    return [joint, *reversed(states)]
