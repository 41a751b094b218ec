"""The voices in the graphs: what the network is told of them, and what it scores by intervals from them."""

from collections.abc import Iterable

import numpy as np
from onnx import TensorProto

from music.voicing import DECAYS, PITCH_CLASSES
from training.graphs.builder import Graph
from training.voices import LEAST_SHARE

_FLAT = len(DECAYS) * PITCH_CLASSES


class Voices:
    """What reading a piece and writing one have in common."""

    def __init__(self, graph: Graph) -> None:
        assert graph.weights.voices is not None
        self.graph = graph
        self._network = graph.weights.voices
        self._voicing = self._network.voicing

    def profiled(self, embedded: str, profile: str, total: str, root: str) -> str:
        """Embeddings (n, embedding) with what the profile says: its shares, turned so that the root comes first.

        Takes the profile (n, decays * 12), its sum over pitch classes repeated for each, and roots (n, 1) or (1, n, 1):
        tokens, or `vocabulary`.
        """
        graph = self.graph
        places = graph.op("Reshape", graph.op("Gather", graph.weight("turned"), root), graph.integers(-1, _FLAT))
        shares = graph.op("GatherElements", graph.op("Div", profile, total), places, axis=1)
        return graph.op("Gemm", shares, graph.weight("key"), embedded)

    def scored(self, projected: str, heard: str) -> str:
        """Logits (n, vocabulary) from the output projection (n, outputs).

        Takes rows of the table of columns, (n, voices + 1) or (1, n, voices + 1); see `Weights.heard_tables`.
        """
        graph, voicing = self.graph, self._voicing
        columns = graph.op("Gather", graph.weight("relative_columns"), heard)
        sources = voicing.voices + 1
        columns = graph.op("Reshape", columns, graph.integers(-1, sources * voicing.vocabulary))
        scores = graph.op("GatherElements", projected, columns, axis=1)
        scores = graph.op("Reshape", scores, graph.integers(-1, sources, voicing.vocabulary))
        return graph.op("ReduceSum", scores, graph.integers(1), keepdims=0)


class ReadVoices(Voices):
    """Voices of pieces that are known: registers and profiles before every token are inputs of the graph."""

    def embedding(self, registers: str, profile: str, clock: str) -> str:
        """(n, embedding) from registers (n, registers) int64, profile (n, decays, 12) and clock rows (n,)."""
        graph, voicing = self.graph, self._voicing
        told = set(self._network.columns.tolist())
        voices, interval = voicing.voices, 2 * voicing.pitches
        parts = []
        if own := [column for column in range(2 * voices) if column in told]:
            parts.append(self._registers(registers, own))
        if motions := [column for column in range(2 * voices, 3 * voices) if column in told]:
            lowered = graph.op("Add", self._registers(registers, motions), graph.integers(interval - 1))
            parts.append(graph.op("Mod", lowered, graph.integers(interval)))
        said = 3 * voices
        if said in told:
            elapsed = self._registers(registers, [voicing.size - 1])
            parts.append(graph.op("Div", elapsed, graph.integers(voicing.span)))
        pairs = [pair for column, pair in enumerate(voicing.pairs, said + 1) if column in told]
        if pairs:
            newer, older = zip(*pairs, strict=True)
            parts.append(self._interval(self._registers(registers, newer), self._registers(registers, older)))
        if said + 1 + len(voicing.pairs) in told:
            parts.append(self._before(registers))
        features = graph.op("Concat", *parts, axis=-1)
        rows = graph.op("Add", features, graph.op("Gather", graph.weight("voice_offsets"), clock))
        embedded = graph.op("Gather", graph.weight("rows_voices"), rows)
        summed = graph.op("ReduceSum", embedded, graph.integers(1), keepdims=0)
        if self._network.key is None:
            return summed
        total = graph.op("ReduceSum", profile, graph.integers(-1), keepdims=1)
        total = graph.op("Max", total, graph.constant(np.array(LEAST_SHARE, np.float32)))
        ones = graph.constant(np.ones((1, 1, PITCH_CLASSES), np.float32))
        flat = graph.integers(-1, _FLAT)
        return self.profiled(
            summed,
            graph.op("Reshape", profile, flat),
            graph.op("Reshape", graph.op("Mul", total, ones), flat),
            self._registers(registers, [voicing.own]),
        )

    def logits(self, projected: str, registers: str) -> str:
        """Logits (n, vocabulary) from the output projection (n, outputs) and the registers (n, registers)."""
        if self._network.output is None:
            return projected
        graph, voicing = self.graph, self._voicing
        *offsets, plain = graph.weights.heard_tables
        heard = self._registers(registers, range(voicing.heard.start, voicing.heard.stop))
        heard = graph.op("Add", heard, graph.integers(*offsets))
        first = self._registers(registers, [0])
        alike = graph.op("Add", graph.op("Mul", first, graph.integers(0)), graph.integers(plain))
        return self.scored(projected, graph.op("Concat", heard, alike, axis=1))

    def _before(self, registers: str) -> str:
        graph, voicing = self.graph, self._voicing
        age, motion, heard = (
            self._registers(registers, range(first, first + voicing.voices - 1)) for first in voicing.others
        )
        moved = graph.op(
            "And", graph.op("Equal", age, graph.integers(0)), graph.op("Greater", motion, graph.integers(0))
        )
        origin = graph.op("Add", graph.op("Sub", heard, motion), graph.integers(voicing.pitches))
        came_from = graph.op("Where", moved, origin, graph.integers(voicing.start))
        return self._interval(self._registers(registers, [voicing.own]), came_from)

    def _registers(self, registers: str, columns: Iterable[int]) -> str:
        return self.graph.op("Gather", registers, self.graph.integers(*columns), axis=-1)

    def _interval(self, upper: str, lower: str) -> str:
        """Interval from the lower to the upper token, elementwise, as `LinearVoicing.features` has it."""
        graph = self.graph
        place = graph.op("Add", graph.op("Mul", upper, graph.integers(self._voicing.vocabulary)), lower)
        return graph.op("Gather", graph.weight("intervals"), place)


class WrittenVoices(Voices):
    """Voices of pieces that are being written: rows of a `LinearVoicing`, stepped inside the graph."""

    def __init__(self, graph: Graph, row: str) -> None:
        super().__init__(graph)
        assert graph.weights.lookups is not None
        self._lookups = graph.weights.lookups
        self._row = row
        self._moved = ""

    def embedding(self, clock: str) -> tuple[str, str]:
        """(n, embedding), the clock's included, from clock rows (n,); and what `logits` takes."""
        graph, widths = self.graph, self._lookups.widths
        product = graph.op("MatMul", self._row, graph.weight("voice_step"))
        lookups, *profile, self._moved = graph.ops("Split", product, graph.integers(*widths), count=len(widths), axis=1)
        lookups = graph.op("Add", lookups, graph.op("Gather", graph.weight("lookup_begin"), clock))
        lookups = graph.op("Min", lookups, graph.op("Gather", graph.weight("lookup_bound"), clock))
        lookups = graph.op("Cast", lookups, to=TensorProto.INT32)
        told, heard, root = graph.ops("Split", lookups, graph.integers(*self._lookups.counts), count=3, axis=1)
        # Lookups first, rows of the batch after: only so is one row summed in the order in which many are.
        embedded = graph.op("Gather", graph.weight("rows"), graph.op("Transpose", told, perm=[1, 0]))
        summed = graph.op("ReduceSum", embedded, graph.integers(0), keepdims=0)
        if profile:
            sounded, total = profile
            total = graph.op("Max", total, graph.constant(np.array(LEAST_SHARE, np.float32)))
            summed = self.profiled(summed, sounded, total, root)
        return summed, heard

    def logits(self, projected: str, heard: str) -> str:
        """Logits (n, vocabulary) from the output projection (n, outputs)."""
        return projected if self._network.output is None else self.scored(projected, heard)

    def advance(self, token: str) -> str:
        """The rows after tokens (n,)."""
        graph = self.graph
        kept = graph.op("Mul", self._moved, graph.op("Gather", graph.weight("voice_gates"), token))
        self._row = graph.op("Add", kept, graph.op("Gather", graph.weight("voice_values"), token))
        return self._row
