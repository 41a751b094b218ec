"""The grammar in the decode graph: one automaton, or several in step."""

from training.graphs.builder import Graph


class Grammar:
    """Nodes for `music.automata.Grammar`. States are (batch,) int64, one for each automaton."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def parted(self, joint: str) -> list[str]:
        """The states that one number stands for."""
        graph = self._graph
        states = []
        for count in reversed(graph.weights.automaton_states[1:]):
            size = graph.integers(count)
            states.append(graph.op("Mod", joint, size))
            joint = graph.op("Div", joint, size)
        return [joint, *reversed(states)]

    def joint(self, states: list[str]) -> str:
        """One number for the states."""
        graph = self._graph
        joint = states[0]
        for state, count in zip(states[1:], graph.weights.automaton_states[1:], strict=True):
            joint = graph.op("Add", graph.op("Mul", joint, graph.integers(count)), state)
        return joint

    def penalties(self, states: list[str]) -> list[str]:
        """What each automaton adds to logits, (batch, vocabulary): it pushes out of reach what may not come."""
        graph = self._graph
        return [
            graph.op("Gather", graph.weight(f"grammar_penalty_{index}"), state) for index, state in enumerate(states)
        ]

    def after(self, states: list[str], token: str) -> list[str]:
        """The states after a token (batch,)."""
        graph = self._graph
        vocabulary = graph.integers(graph.weights.vocabulary)
        return [
            graph.op(
                "Gather",
                graph.weight(f"grammar_successor_{index}"),
                graph.op("Add", graph.op("Mul", state, vocabulary), token),
            )
            for index, state in enumerate(states)
        ]
