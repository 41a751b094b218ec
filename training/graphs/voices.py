"""The voices in the graphs: their features on the way in, interval scores on the way out, and their next state."""

from collections.abc import Iterable

import numpy as np

from music.voicing import DECAYS, MAX_AGE, PITCH_CLASSES, SPANS
from training.graphs.builder import Graph
from training.voices import LEAST_SHARE


class Voices:
    """Nodes for `music.voicing.Voicing`: registers are (..., registers) int64, profiles (..., decays, 12) float32."""

    def __init__(self, graph: Graph) -> None:
        assert graph.weights.voices is not None
        self._graph = graph
        self._voices, self._voicing = graph.weights.voices, graph.weights.voices.voicing

    def embedding(self, registers: str, profile: str, clock: str, *, leading: int) -> str:
        """Sum of the embedded features and of the turned profile, (..., embedding); there are `leading` axes."""
        graph, voicing = self._graph, self._voicing
        told = set(self._voices.columns.tolist())
        said = 3 * voicing.voices  # features that are registers; then what has elapsed, the intervals, those before
        parts = []
        if own := [column for column in range(said) if column in told]:
            parts.append(self._registers(registers, own))
        if said in told:
            elapsed = self._registers(registers, [voicing.size - 1])
            parts.append(graph.op("Div", elapsed, graph.integers(voicing.span)))
        pairs = [pair for column, pair in enumerate(voicing.pairs, said + 1) if column in told]
        if pairs:
            newer, older = zip(*pairs, strict=True)
            parts.append(self.interval(self._registers(registers, newer), self._registers(registers, older)))
        if said + 1 + len(voicing.pairs) in told:
            parts.append(self._before(registers))
        features = graph.op("Concat", *parts, axis=-1)
        rows = graph.op("Add", features, graph.op("Gather", graph.weight("voice_offsets"), clock))
        embedded = graph.op("Gather", graph.weight("voice_table"), rows)
        summed = graph.op("ReduceSum", embedded, graph.integers(-2), keepdims=0)
        if self._voices.key is None:
            return summed
        root = graph.op("Gather", registers, graph.constant(np.array(voicing.own)), axis=-1)
        places = graph.op("Gather", graph.weight("turned"), root)  # (..., decays, 12)
        turned = graph.op("GatherElements", profile, places, axis=-1)
        total = graph.op("ReduceSum", profile, graph.integers(-1), keepdims=1)
        least = graph.constant(np.array(LEAST_SHARE, np.float32))
        shares = graph.op("Div", turned, graph.op("Max", total, least))
        flat = graph.op("Reshape", shares, graph.integers(*[0] * leading, len(DECAYS) * PITCH_CLASSES))
        return graph.op("Add", summed, graph.op("MatMul", flat, graph.weight("key")))

    def _before(self, registers: str) -> str:
        graph, voicing = self._graph, self._voicing
        age, motion, heard = (
            self._registers(registers, range(first, first + voicing.voices - 1)) for first in voicing.others
        )
        moved = graph.op(
            "And", graph.op("Equal", age, graph.integers(0)), graph.op("Greater", motion, graph.integers(0))
        )
        origin = graph.op("Add", graph.op("Sub", heard, motion), graph.integers(voicing.pitches))
        came_from = graph.op("Where", moved, origin, graph.integers(voicing.start))
        return self.interval(self._registers(registers, [voicing.own]), came_from)

    def _registers(self, registers: str, columns: Iterable[int]) -> str:
        return self._graph.op("Gather", registers, self._graph.integers(*columns), axis=-1)

    def interval(self, upper: str, lower: str) -> str:
        """Stored interval from the lower to the upper token, elementwise."""
        graph = self._graph
        place = graph.op("Add", graph.op("Mul", upper, graph.integers(self._voicing.vocabulary)), lower)
        return graph.op("Gather", graph.weight("intervals"), place)

    def logits(self, projected: str, registers: str) -> str:
        """(batch, vocabulary) from the output projection (batch, vocabulary + voices * 2 * pitches)."""
        graph, voicing = self._graph, self._voicing
        if self._voices.output is None:
            return projected
        voices, vocabulary = voicing.voices, voicing.vocabulary
        plain, relative = graph.ops(
            "Split", projected, graph.integers(vocabulary, voices * 2 * voicing.pitches), count=2, axis=1
        )
        heard = graph.op(
            "Slice", registers, *(graph.integers(value) for value in (voicing.heard.start, voicing.heard.stop, 1))
        )
        rows = graph.op("Add", heard, graph.constant(np.arange(voices, dtype=np.int64) * vocabulary))
        columns = graph.op("Gather", graph.weight("relative_columns"), rows)  # (batch, voices, vocabulary)
        columns = graph.op("Flatten", columns, axis=1)
        scores = graph.op("GatherElements", relative, columns, axis=1)
        scores = graph.op("Reshape", scores, graph.integers(-1, voices, vocabulary))
        return graph.op("Add", plain, graph.op("ReduceSum", scores, graph.integers(1), keepdims=0))

    def advanced(self, registers: list[str], profile: str, token: str) -> tuple[list[str], str]:
        """Registers (each (batch, 1)) and profile after `token` (batch, 1)."""
        graph, voicing = self._graph, self._voicing
        voices = voicing.voices
        sounding, age, motion, heard = (registers[index * voices : (index + 1) * voices] for index in range(4))
        held = graph.op("Equal", token, graph.integers(voicing.hold))
        pitched = graph.op("GreaterOrEqual", token, graph.integers(voicing.first_pitch))
        now = graph.op("Where", held, sounding[-1], token)
        older = graph.op("Min", graph.op("Add", age[-1], graph.integers(1)), graph.integers(MAX_AGE))
        aged = graph.op("Where", held, older, graph.integers(0))
        moved = graph.op("Where", pitched, self.interval(token, heard[-1]), motion[-1])
        last = graph.op("Where", pitched, token, heard[-1])
        faded = graph.op("Mul", profile, graph.constant(voicing.decay[:, None]))
        profile = graph.op("Add", faded, graph.op("Gather", graph.weight("pitch_class"), now))  # (batch, 1, 12)
        elapsed = graph.op(
            "Min", graph.op("Add", registers[-1], graph.integers(1)), graph.integers(SPANS * voicing.span)
        )
        shifted = [now, *sounding[:-1], aged, *age[:-1], moved, *motion[:-1], last, *heard[:-1]]
        return [*shifted, elapsed], profile
