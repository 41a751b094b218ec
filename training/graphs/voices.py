"""The voices in the graphs: embeddings of their features, and scores of pitches by interval from them."""

from collections.abc import Iterable

import numpy as np
from onnx import TensorProto

from music.voice_tracker import DECAYS, PITCH_CLASSES
from training.graphs.builder import Graph
from training.network.voice_layers import MIN_PROFILE_SUM

_FLAT = len(DECAYS) * PITCH_CLASSES


class Voices:
    """The nodes that prefill and decode graphs share."""

    def __init__(self, graph: Graph) -> None:
        assert graph.weights.voices is not None
        self.graph = graph
        self._network = graph.weights.voices
        self._tracker = self._network.tracker

    def add_profile(self, embedded: str, profile: str, total: str, root: str) -> str:
        """Add the embedded profile, whose shares are turned so that the root's pitch class comes first.

        Args:
            embedded: (n, embedding) float32.
            profile: (n, decays * 12) float32.
            total: (n, decays * 12) float32, the profile's sum over the pitch classes, repeated for each.
            root: (n, 1) or (1, n, 1) integers: a token, or `vocabulary` for no pitch.

        Returns:
            (n, embedding) float32.
        """
        graph = self.graph
        places = graph.op("Reshape", graph.op("Gather", graph.weight("turned"), root), graph.integers(-1, _FLAT))
        shares = graph.op("GatherElements", graph.op("Div", profile, total), places, axis=1)
        return graph.op("Gemm", shares, graph.weight("key"), embedded)

    def add_interval_scores(self, projected: str, rows: str) -> str:
        """Logits (n, vocabulary): the plain output plus the scores by interval from each voice.

        Args:
            projected: (n, outputs) float32, the output projection.
            rows: (n, voices + 1) or (1, n, voices + 1) integers, rows of the table of columns; see
                `Weights.column_rows`.
        """
        graph, tracker = self.graph, self._tracker
        columns = graph.op("Gather", graph.weight("relative_columns"), rows)
        sources = tracker.voices + 1
        columns = graph.op("Reshape", columns, graph.integers(-1, sources * tracker.vocabulary))
        scores = graph.op("GatherElements", projected, columns, axis=1)
        scores = graph.op("Reshape", scores, graph.integers(-1, sources, tracker.vocabulary))
        return graph.op("ReduceSum", scores, graph.integers(1), keepdims=0)


class PrefillVoices(Voices):
    """Voices in a prefill graph: voice states and profiles before every token are inputs."""

    def embedding(self, voice_states: str, profile: str, position: str) -> str:
        """(n, embedding) from voice states (n, size) int64, profile (n, decays, 12), position indices (n,)."""
        graph, tracker = self.graph, self._tracker
        used = set(self._network.columns.tolist())
        voices, interval = tracker.voices, 2 * tracker.pitches
        parts = []
        if own := [column for column in range(2 * voices) if column in used]:
            parts.append(self._columns_of(voice_states, own))
        if motions := [column for column in range(2 * voices, 3 * voices) if column in used]:
            lowered = graph.op("Add", self._columns_of(voice_states, motions), graph.integers(interval - 1))
            parts.append(graph.op("Mod", lowered, graph.integers(interval)))
        elapsed_column = 3 * voices
        if elapsed_column in used:
            elapsed = self._columns_of(voice_states, [tracker.size - 1])
            parts.append(graph.op("Div", elapsed, graph.integers(tracker.span)))
        pairs = [pair for column, pair in enumerate(tracker.pairs, elapsed_column + 1) if column in used]
        if pairs:
            newer, older = zip(*pairs, strict=True)
            parts.append(self._interval(self._columns_of(voice_states, newer), self._columns_of(voice_states, older)))
        if elapsed_column + 1 + len(tracker.pairs) in used:
            parts.append(self._before(voice_states))
        features = graph.op("Concat", *parts, axis=-1)
        rows = graph.op("Add", features, graph.op("Gather", graph.weight("voice_offsets"), position))
        embedded = graph.op("Gather", graph.weight("rows_voices"), rows)
        summed = graph.op("ReduceSum", embedded, graph.integers(1), keepdims=0)
        if self._network.key is None:
            return summed
        total = graph.op("ReduceSum", profile, graph.integers(-1), keepdims=1)
        total = graph.op("Max", total, graph.constant(np.array(MIN_PROFILE_SUM, np.float32)))
        ones = graph.constant(np.ones((1, 1, PITCH_CLASSES), np.float32))
        flat = graph.integers(-1, _FLAT)
        return self.add_profile(
            summed,
            graph.op("Reshape", profile, flat),
            graph.op("Reshape", graph.op("Mul", total, ones), flat),
            self._columns_of(voice_states, [tracker.next_voice_pitch]),
        )

    def logits(self, projected: str, voice_states: str) -> str:
        """Logits (n, vocabulary) from the output projection (n, outputs) and the voice states (n, voice states)."""
        if self._network.output is None:
            return projected
        graph, tracker = self.graph, self._tracker
        *offsets, plain = graph.weights.column_rows
        pitches = self._columns_of(voice_states, range(tracker.last_pitches.start, tracker.last_pitches.stop))
        rows = graph.op("Add", pitches, graph.integers(*offsets))
        first = self._columns_of(voice_states, [0])
        plain_row = graph.op("Add", graph.op("Mul", first, graph.integers(0)), graph.integers(plain))  # (n, 1)
        return self.add_interval_scores(projected, graph.op("Concat", rows, plain_row, axis=1))

    def _before(self, voice_states: str) -> str:
        graph, tracker = self.graph, self._tracker
        age, motion, pitch = (
            self._columns_of(voice_states, range(first, first + tracker.voices - 1)) for first in tracker.other_voices
        )
        moved = graph.op(
            "And", graph.op("Equal", age, graph.integers(0)), graph.op("Greater", motion, graph.integers(0))
        )
        origin = graph.op("Add", graph.op("Sub", pitch, motion), graph.integers(tracker.pitches))
        came_from = graph.op("Where", moved, origin, graph.integers(tracker.start))
        return self._interval(self._columns_of(voice_states, [tracker.next_voice_pitch]), came_from)

    def _columns_of(self, voice_states: str, columns: Iterable[int]) -> str:
        return self.graph.op("Gather", voice_states, self.graph.integers(*columns), axis=-1)

    def _interval(self, upper: str, lower: str) -> str:
        """Interval from the lower to the upper token, elementwise, as in `LinearVoiceTracker.features`."""
        graph = self.graph
        place = graph.op("Add", graph.op("Mul", upper, graph.integers(self._tracker.vocabulary)), lower)
        return graph.op("Gather", graph.weight("intervals"), place)


class DecodeVoices(Voices):
    """Voices in a decode graph: rows of a `LinearVoiceTracker` that the graph itself advances."""

    def __init__(self, graph: Graph, row: str) -> None:
        super().__init__(graph)
        assert graph.weights.lookups is not None
        self._lookups = graph.weights.lookups
        self._row = row
        self._advanced = ""

    def embedding(self, position: str) -> tuple[str, str]:
        """Embed the voices, the previous token and the position.

        Args:
            position: (n,) int64, position indices.

        Returns:
            embeddings (n, embedding) float32, and the rows that `logits` takes.
        """
        graph, widths = self.graph, self._lookups.widths
        product = graph.op("MatMul", self._row, graph.weight("voice_step"))
        lookups, *profile, self._advanced = graph.ops(
            "Split", product, graph.integers(*widths), count=len(widths), axis=1
        )
        lookups = graph.op("Add", lookups, graph.op("Gather", graph.weight("lookup_begin"), position))
        lookups = graph.op("Min", lookups, graph.op("Gather", graph.weight("lookup_bound"), position))
        lookups = graph.op("Cast", lookups, to=TensorProto.INT32)
        features, columns, root = graph.ops("Split", lookups, graph.integers(*self._lookups.counts), count=3, axis=1)
        # Lookups along the first axis, so that embeddings are summed in the same order for one row and for many.
        embedded = graph.op("Gather", graph.weight("rows"), graph.op("Transpose", features, perm=[1, 0]))
        summed = graph.op("ReduceSum", embedded, graph.integers(0), keepdims=0)
        if profile:
            weights, total = profile
            total = graph.op("Max", total, graph.constant(np.array(MIN_PROFILE_SUM, np.float32)))
            summed = self.add_profile(summed, weights, total, root)
        return summed, columns

    def logits(self, projected: str, rows: str) -> str:
        """Logits (n, vocabulary) from the output projection (n, outputs) and the rows that `embedding` returned."""
        return projected if self._network.output is None else self.add_interval_scores(projected, rows)

    def advance(self, token: str) -> str:
        """Advance the rows by tokens (n,), and return them."""
        graph = self.graph
        kept = graph.op("Mul", self._advanced, graph.op("Gather", graph.weight("voice_gates"), token))
        self._row = graph.op("Add", kept, graph.op("Gather", graph.weight("voice_values"), token))
        return self._row
