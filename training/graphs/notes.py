"""The past of a sequence of `events` in a decode graph: its state, its embedding, and the scores that it gives."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from music.graph_names import NOTE_PROFILE, NOTE_STATE
from music.tokenizers.note_tracker import DECAYS, ORDERS, PITCH_CLASSES, WORD_BITS, NoteFeatures
from training.graphs.arithmetic import Arithmetic
from training.graphs.builder import Graph
from training.graphs.note_rows import interval_rows, set_rows
from training.graphs.operations import GraphOperations, GraphValue
from training.network.note_layers import INTERVAL_REACH, MIN_PROFILE_SUM, MIN_SHARE, REACH

_SHARES: Final = len(DECAYS) * PITCH_CLASSES


class DecodeNotes:
    """What a network with `training.network.note_layers.NoteLayers` computes in each step.

    Args:
        graph: of which the two states are inputs.
        arithmetic: multiplies with the network's weights.
    """

    def __init__(self, graph: Graph, arithmetic: Arithmetic) -> None:
        assert graph.weights.notes is not None
        self.size = graph.weights.notes.tracker.size
        """Integers of a row of the state."""
        self.profile_size = _SHARES
        """Numbers of a row of the profile."""
        self._graph = graph
        self._arithmetic = arithmetic
        self._layers = graph.weights.notes
        self._tracker = tracker = self._layers.tracker
        self._ops = ops = GraphOperations(graph)
        state = ops.value(graph.input(NOTE_STATE, TensorProto.INT32, ("batch", tracker.size)), np.int32)
        self._profile = ops.value(graph.input(NOTE_PROFILE, TensorProto.FLOAT, ("batch", _SHARES)), np.float32)
        self._state = dict(zip(tracker.fields, ops.split(state, list(tracker.fields.values())), strict=True))
        self._features: NoteFeatures | None = None
        self._sets: GraphValue | None = None
        self._shares: GraphValue | None = None
        bits = tracker.set_words * WORD_BITS
        self._set_width = bits + (bits == tracker.pitches)

    def embedding(self) -> str:
        """The embedding of the past, (batch, embedding) float32."""
        graph, ops, tracker = self._graph, self._ops, self._tracker
        features = self._features = tracker.features(self._state, self._profile, ops)
        sizes = np.array(tracker.feature_sizes)
        first = graph.weights.first_rows["rows_notes"] + np.cumsum(sizes) - sizes
        rows = features.indices + ops.constant(first.astype(np.int32))
        # Lookups along the first axis, so that embeddings are summed in the same order for one row and for many.
        embedded = graph.op("Gather", graph.weight("rows"), graph.op("Transpose", rows.name, perm=[1, 0]))
        summed = graph.op("ReduceSum", embedded, graph.integers(0), keepdims=0)

        sets, pitches, width = self._layers.sets, tracker.pitches, self._set_width
        words = ops.take(tracker.word_bits, features.words)
        bits = ops.reshape(words, sets - 1, tracker.set_words * WORD_BITS).name
        # All sets end with zeros, so that the keys around the last one that do not exist are found there.
        if tracker.set_words * WORD_BITS < width:
            bits = graph.op("Pad", bits, graph.integers(0, 0, 0, 0, 0, 1))
        sounding = ops.reshape(ops.cast(features.sounding, np.float32), 1, pitches)
        padded = graph.op("Pad", sounding.name, graph.integers(0, 0, 0, 0, 0, width - pitches))
        joined = graph.op("Concat", bits, padded, axis=1)
        self._sets = ops.value(joined, np.float32)
        last = ops.slice(features.keys, 0, 1)
        root = ops.where(last == tracker.none, tracker.middle, last)
        window = ops.take(_window(pitches), root)  # (batch, 1, places)
        places = graph.op("Expand", window.name, graph.integers(1, sets, 1))
        around = ops.pick(self._sets, ops.value(places, np.int32))
        seen = ops.reshape(around, sets * (2 * REACH + 1))
        values = self._arithmetic.keys(seen.name, summed)
        profile = ops.reshape(self._profile, len(DECAYS), PITCH_CLASSES)
        total = ops.maximum(ops.sum(profile), MIN_PROFILE_SUM)
        shares = graph.op("Div", profile.name, total.name)
        self._shares = ops.value(shares, np.float32)
        turned = ops.pick(ops.reshape(self._shares, _SHARES), ops.reshape(ops.take(_turns(pitches), root), _SHARES))
        return graph.op("Gemm", turned.name, graph.weight("note_shares"), values)

    def logits(self, projected: str) -> str:
        """The logits (batch, vocabulary) of the step, from the output projection (batch, outputs)."""
        graph, ops, tracker, layers = self._graph, self._ops, self._tracker, self._layers
        features = self._features
        assert features is not None
        voices, vocabulary = tracker.voices, graph.weights.vocabulary
        scored = voices * tracker.pitches
        widths = [
            vocabulary - scored,
            scored,
            *(len(rows) for rows in (interval_rows(layers), set_rows(layers))),
            tracker.candidates,
        ]
        others, pitched, intervals, weights, suggested = ops.split(ops.value(projected, np.float32), widths)
        scores = self._interval_scores(intervals) + self._set_scores(weights)
        logits = ops.concatenate([others, pitched + ops.reshape(scores, scored)])
        # Equal suggestions are added up, each in the same order, so that it does not matter which is stored last.
        lengths = ops.slice(features.indices, -1 - len(ORDERS), -1)
        trust_rows = lengths + ops.constant(np.arange(len(ORDERS), dtype=np.int32) * tracker.feature_sizes[-2])
        trust = ops.value(graph.op("Gather", graph.weight("note_trust"), trust_rows.name), np.float32)
        by_past, by_match = ops.split(suggested, [tracker.candidates - len(ORDERS), len(ORDERS)])
        candidates = features.candidates
        added = ops.where(candidates < 0, 0.0, ops.concatenate([by_past, by_match + trust]))
        count = tracker.candidates
        same = ops.cast(ops.reshape(candidates, count, 1) == ops.reshape(candidates, 1, count), np.float32)
        sums = ops.reshape(ops.sum(same * ops.reshape(added, 1, count)), count)
        places = ops.maximum(candidates, 0)
        return ops.put(logits, places, ops.pick(logits, places) + sums).name

    def advance(self, token: str) -> None:
        """Move past tokens (batch,) int64."""
        ops = self._ops
        narrow = ops.reshape(ops.cast(ops.value(token, np.int64), np.int32), 1)
        self._state, self._profile = self._tracker.advance(self._state, self._profile, narrow, ops)

    def after(self) -> tuple[str, str]:
        """The states after the last step: (batch, size) int32 and (batch, decays * 12) float32."""
        joined = self._ops.concatenate([self._state[name] for name in self._tracker.fields])
        return joined.name, self._profile.name

    def _interval_scores(self, intervals: GraphValue) -> GraphValue:
        """(batch, voices, keys)."""
        graph, ops, tracker, layers = self._graph, self._ops, self._tracker, self._layers
        assert self._features is not None
        columns = [column for own in layers.reference_columns for column in own]
        references = ops.columns(self._features.keys, columns)  # (batch, voices * references)
        keys = np.arange(tracker.pitches)
        places = np.clip(keys - np.arange(tracker.pitches + 1)[:, None], -INTERVAL_REACH, INTERVAL_REACH)
        places += INTERVAL_REACH
        places[tracker.none] = layers.span  # the output that is 0
        index = ops.take(places.astype(np.int32), references)
        scores = ops.pick(ops.reshape(intervals, len(columns), layers.span + 1), index)
        scores = ops.reshape(scores, tracker.voices, layers.references, tracker.pitches)
        return ops.value(graph.op("ReduceSum", scores.name, graph.integers(2), keepdims=0), np.float32)

    def _set_scores(self, weights: GraphValue) -> GraphValue:
        """(batch, voices, keys)."""
        graph, ops, tracker, layers = self._graph, self._ops, self._tracker, self._layers
        sets, shares = self._sets, self._shares
        assert sets is not None
        assert shares is not None
        voices, pitches, width = tracker.voices, tracker.pitches, self._set_width
        kinds = [layers.sets, 2 + len(DECAYS)]
        by_set, by_class = ops.split(ops.reshape(weights, voices, sum(kinds)), kinds)
        scores = ops.slice(ops.value(graph.op("MatMul", by_set.name, sets.name), np.float32), 0, pitches)
        # The pitch classes of the chord and of the last chords of all voices.
        chords = graph.op("Slice", sets.name, graph.integers(0), graph.integers(2 * voices), graph.integers(1))
        counts = graph.op("MatMul", chords, ops.constant(_class_of_key(width)).name)
        counts = ops.reshape(ops.value(counts, np.float32), 2, voices, PITCH_CLASSES).name
        present = graph.op("ReduceSum", counts, graph.integers(2), keepdims=0)
        present = graph.op("Min", present, graph.constant(np.array(1.0, np.float32)))
        logarithms = graph.op("Log", (shares + MIN_SHARE).name)
        classes = graph.op("MatMul", by_class.name, graph.op("Concat", present, logarithms, axis=1))
        repeated = ops.concatenate([ops.value(classes, np.float32)] * -(-pitches // PITCH_CLASSES))
        return scores + (ops.slice(repeated, 0, pitches) if pitches % PITCH_CLASSES else repeated)


def _window(pitches: int) -> NDArray[np.int32]:
    """(keys, places): the places in a set of the keys around each key; `pitches`, where a set has a zero, if none."""
    keys = np.arange(pitches)[:, None] + np.arange(-REACH, REACH + 1)
    return np.where((keys >= 0) & (keys < pitches), keys, pitches).astype(np.int32)


def _turns(pitches: int) -> NDArray[np.int32]:
    """(keys, decays * 12): places of the pitch classes upwards from each key's own, for each decay."""
    classes = (np.arange(pitches)[:, None] + np.arange(PITCH_CLASSES)) % PITCH_CLASSES
    return np.concatenate([classes + PITCH_CLASSES * index for index in range(len(DECAYS))], 1).astype(np.int32)


def _class_of_key(keys: int) -> NDArray[Any]:
    """(keys, 12): one at the pitch class of each key."""
    return np.eye(PITCH_CLASSES, dtype=np.float32)[np.arange(keys) % PITCH_CLASSES]
