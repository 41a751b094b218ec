"""The voices in the graphs: their features on the way in, interval scores on the way out, and their next state."""

import numpy as np

from music.voicing import MAX_AGE
from training.graphs.builder import Graph


class Voices:
    """Nodes for `music.voicing.Voicing`; registers are (..., registers) int64."""

    def __init__(self, graph: Graph) -> None:
        assert graph.weights.voicing is not None
        self._graph = graph
        self._voicing = graph.weights.voicing

    def embedding(self, registers: str, clock: str) -> str:
        """Sum of the embedded features, (..., embedding)."""
        graph, voicing = self._graph, self._voicing
        features = registers
        if voicing.pairs:
            newer, older = zip(*voicing.pairs, strict=True)
            intervals = self.interval(
                graph.op("Gather", registers, graph.integers(*newer), axis=-1),
                graph.op("Gather", registers, graph.integers(*older), axis=-1),
            )
            features = graph.op("Concat", registers, intervals, axis=-1)
        rows = graph.op("Add", features, graph.op("Gather", graph.weight("voice_offsets"), clock))
        embedded = graph.op("Gather", graph.weight("voice_table"), rows)
        return graph.op("ReduceSum", embedded, graph.integers(-2), keepdims=0)

    def interval(self, upper: str, lower: str) -> str:
        """Stored interval from the lower to the upper token, elementwise."""
        graph = self._graph
        place = graph.op("Add", graph.op("Mul", upper, graph.integers(self._voicing.vocabulary)), lower)
        return graph.op("Gather", graph.weight("intervals"), place)

    def logits(self, projected: str, registers: str) -> str:
        """(batch, vocabulary) from the output projection (batch, vocabulary + voices * 2 * pitches)."""
        graph, voicing = self._graph, self._voicing
        voices, vocabulary = voicing.voices, voicing.vocabulary
        plain, relative = graph.ops(
            "Split", projected, graph.integers(vocabulary, voices * 2 * voicing.pitches), count=2, axis=1
        )
        sounding = graph.op("Slice", registers, *(graph.integers(value) for value in (0, voices, 1)))
        rows = graph.op("Add", sounding, graph.constant(np.arange(voices, dtype=np.int64) * vocabulary))
        columns = graph.op("Gather", graph.weight("relative_columns"), rows)  # (batch, voices, vocabulary)
        columns = graph.op("Flatten", columns, axis=1)
        scores = graph.op("GatherElements", relative, columns, axis=1)
        scores = graph.op("Reshape", scores, graph.integers(-1, voices, vocabulary))
        return graph.op("Add", plain, graph.op("ReduceSum", scores, graph.integers(1), keepdims=0))

    def advanced(self, registers: list[str], token: str) -> list[str]:
        """The registers after `token` (batch, 1), each (batch, 1)."""
        graph, voicing = self._graph, self._voicing
        voices = voicing.voices
        sounding, age, motion = (registers[index * voices : (index + 1) * voices] for index in range(3))
        held = graph.op("Equal", token, graph.integers(voicing.hold))
        pitched = graph.op("GreaterOrEqual", token, graph.integers(voicing.first_pitch))
        now = graph.op("Where", held, sounding[-1], token)
        older = graph.op("Min", graph.op("Add", age[-1], graph.integers(1)), graph.integers(MAX_AGE))
        aged = graph.op("Where", held, older, graph.integers(0))
        moved = graph.op("Where", pitched, self.interval(token, sounding[-1]), motion[-1])
        return [now, *sounding[:-1], aged, *age[:-1], moved, *motion[:-1]]
