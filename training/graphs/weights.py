"""The weights and tables of the graphs, in one external data file that all graphs share."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from music.grammar import GRAMMAR_PENALTY, Grammar
from music.graph_names import POSITION, POSITION_SUCCESSOR
from music.linear_voice_tracker import INTERVALS, LinearVoiceTracker, none_interval_last
from music.tokenizers import Tokenizer
from music.voice_tracker import DECAYS
from training.graphs.lookups import Lookups
from training.graphs.note_rows import output_rows
from training.network.model import MusicLSTM
from training.network.note_layers import SHARE_SCALE, NoteLayers
from training.network.voice_layers import PROFILE_SCALE, VoiceLayers

WEIGHTS: Final = "weights.bin"
_ALIGNMENT: Final = 64
_INLINE_BYTES: Final = 1024
_MIN_SAVED_BYTES: Final = 1 << 16
"""The penalties of a grammar are stored without equal rows if this saves as much: it costs one more node a step."""
LEVELS: Final = 127
"""Quantisation steps of an activation from 0 to the greatest magnitude."""
WEIGHT_LEVELS: Final = 64
"""The same of a weight. CPUs with AVX2 but without VNNI sum two products in 16 bits. This is exact if 255 * 2 times
this is less than 2^15. Twice as many steps would gain 0.0001 nats, and results on those CPUs would differ."""
GATES: Final = ("i", "o", "f", "g")
"""The gates of a cell in ONNX's order."""
NOTE_WEIGHTS: Final = ("note_window", "note_window_int8", "note_window_scale", "note_shares", "note_trust")
"""Arrays of a network that sees notes, beside the rows of its embeddings and of its outputs."""
ZERO_POINT: Final = 128
"""The unsigned activation that stands for 0."""


@dataclass(frozen=True, slots=True)
class _Span:
    """An array and its place in the file of weights."""

    offset: int
    array: NDArray[np.generic]


class Weights:
    """The arrays of a network by name. Embeddings of the features of a position are summed, as are a grammar state's.

    Embeddings are divided by `embedding_scale`, (embedding,), the greatest magnitude of each number of their sum, and
    the weights behind them are multiplied by it. This does not change the network. It brings the sum into the range of
    an LSTM's h, which int8 can represent. Without a scale, int8 clips values beyond 1.
    """

    def __init__(
        self, model: MusicLSTM, tokenizer: Tokenizer, embedding_scale: NDArray[np.float32] | None = None
    ) -> None:
        self.layers = model.config.layers
        self.hidden = model.config.hidden
        self.embedding = model.config.embedding
        self.vocabulary = model.vocabulary
        self.position_count = len(tokenizer.positions)
        self.voices = model.voices
        self.notes = model.notes
        self.tracker = tokenizer.voice_tracker if model.voices is not None else None
        self.linear = None if self.tracker is None else LinearVoiceTracker(self.tracker)
        self.lookups: Lookups | None = None
        self.column_rows: list[int] = []
        """First row of each voice in the table of columns; last, the row of the plain output."""
        self.first_rows: dict[str, int] = {}
        """Index of the first row of each part of a stacked array."""
        self.skip = model.config.skip
        self.output_width = model.output.in_features
        self.uses_grammar = len(model.grammar) > 0
        self.remaining = tokenizer.remaining_length if model.config.length_input else None
        self.grammar_rows = sum(tokenizer.grammar.feature_sizes)
        """Number of embeddings of the grammar's features."""
        self._embedding_scale = np.ones(self.embedding, np.float32) if embedding_scale is None else embedding_scale
        self.shared_penalties: list[bool] = []
        """Whether the penalties of each automaton have a row for many states, and not one for each."""
        self.narrow_successors = False
        """Whether the tables of successors are int16 in place of int32."""
        self._spans: dict[str, _Span] = {}
        self._parts: dict[str, list[str]] = {}  # of stacked arrays
        self._size = 0
        with torch.no_grad():
            self._add_embeddings(model, tokenizer)
            self._add_layers(model)
            self._add_output(model)
            parts = {part for names in self._parts.values() for part in names}
            self._trained = [name for name in self._spans if name not in parts]  # all arrays but tables
            if model.notes is not None:
                self._add_notes(model.notes)
                self._trained += NOTE_WEIGHTS
            if model.voices is not None:
                self._add_voices(model.voices)
        grammar = tokenizer.grammar
        self.automaton_states = tuple(len(automaton.allowed) for automaton in grammar.automata)
        """Number of states of each automaton of the grammar."""
        self.feature_automata = len(grammar.feature_tables)
        """Number of automata that have features."""
        self.choices = grammar.max_allowed
        """Largest number of tokens that the grammar allows in one state."""
        self._add_grammar(grammar)
        self._add(POSITION_SUCCESSOR, tokenizer.positions.successor.astype(np.int64))
        if self.remaining is not None:
            offsets, divisors = self.remaining.offsets, self.remaining.divisors
            for index in range(len(self.remaining.limits)):
                self._add(f"remaining_addend_{index}", offsets[:, index] + 2 * divisors[:, index] - 1)
                self._add(f"remaining_divisor_{index}", divisors[:, index])

    def _add_embeddings(self, model: MusicLSTM, tokenizer: Tokenizer) -> None:
        """Stack all tables whose rows are summed, so that one Gather finds all rows of a step."""
        tables = {
            "token": model.token.weight.numpy(),
            POSITION: model.position_embedding(torch.arange(self.position_count)).numpy(),
        }
        if self.uses_grammar:
            tables["grammar"] = torch.cat([*model.grammar.parameters()]).numpy()
        if model.voices is not None:
            tables["voices"] = model.voices.table.weight.numpy()[voice_row_order(model.voices)]
        for index, embedding in enumerate(model.remaining):
            assert isinstance(embedding, torch.nn.Embedding)
            tables[f"remaining_{index}"] = embedding.weight.numpy()
        if model.notes is not None:
            tables["notes"] = model.notes.masked_table.numpy()
        self._add_stacked(
            "rows", {name: (table / self._embedding_scale).astype(np.float32) for name, table in tables.items()}
        )

    def _add_grammar(self, grammar: Grammar) -> None:
        """Add the tables of all automata: penalties without equal rows, and successors without equal columns."""
        starts = np.cumsum([0, *grammar.feature_sizes[:-1]])  # of the features' embeddings
        for index, features in enumerate(grammar.feature_tables):
            self._add(f"grammar_features_{index}", (features if index else features + starts).astype(np.int32))
        states = max(len(automaton.successor) for automaton in grammar.automata)
        # Several automata have tables of several hundred kilobytes.
        self.narrow_successors = len(grammar.automata) > 1 and states <= np.iinfo(np.int16).max
        successor = np.int16 if self.narrow_successors else np.int32
        for index, automaton in enumerate(grammar.automata):
            penalties: NDArray[Any] = ~automaton.allowed
            if len(grammar.automata) == 1:  # those of several are joined first
                penalties = np.where(penalties, GRAMMAR_PENALTY, 0.0).astype(np.float32)
            rows, row_of = np.unique(penalties, axis=0, return_inverse=True)
            self.shared_penalties.append(penalties.nbytes - rows.nbytes >= _MIN_SAVED_BYTES)
            if self.shared_penalties[-1]:
                self._add(f"grammar_row_{index}", row_of.astype(np.int32))
                penalties = rows
            self._add(f"grammar_penalty_{index}", penalties)
            columns, column_of = np.unique(automaton.successor, axis=1, return_inverse=True)
            self._add(f"grammar_column_{index}", (column_of * len(automaton.successor)).astype(np.int32))
            self._add(f"grammar_successor_{index}", columns.T.astype(successor).reshape(-1))

    def _add_layers(self, model: MusicLSTM) -> None:
        for index, layer in enumerate(model.layers):
            inputs, recurrent = _reorder_gates(layer.input.numpy()), _reorder_gates(layer.recurrent.numpy())
            if not index:
                inputs = inputs * self._embedding_scale
            bias = _reorder_gates(layer.bias.numpy())
            self._add(f"input_{index}", inputs)
            self._add(f"recurrent_{index}", recurrent)
            self._add_stacked(f"bias_{index}", dict(zip(GATES, np.split(bias, len(GATES)), strict=True)))
            scale, both = quantize(np.concatenate([inputs, recurrent], axis=1))
            self._add_stacked(f"layer_{index}_scale", dict(zip(GATES, np.split(scale, len(GATES)), strict=True)))
            for gate, rows in zip(GATES, np.split(both, len(GATES)), strict=True):
                self._add(f"layer_{index}_int8_{gate}", rows.T)
            if model.notes is None:  # for the prefill graph
                self._add(f"input_{index}_int8", both[:, : inputs.shape[1]].T)
                self._add(f"recurrent_{index}_int8", both[:, inputs.shape[1] :].T)

    def _add_output(self, model: MusicLSTM) -> None:
        """One projection: the plain output over the vocabulary, then the outputs by interval from every voice."""
        weights: list[torch.Tensor] = [model.output.weight]
        biases: list[torch.Tensor] = [model.output.bias]
        voices = model.voices
        if voices is not None and voices.output is not None:
            no_interval = voices.no_interval.repeat(voices.tracker.voices)
            weights.append(voices.output.weight.masked_fill(no_interval[:, None], 0.0))
            biases.append(voices.output.bias.masked_fill(no_interval, 0.0))
        if model.notes is not None:
            rows = torch.as_tensor(output_rows(model.notes))
            is_used = (rows >= 0).float()
            masked = model.notes.masked_outputs
            weights.append(torch.cat([layer.weight * mask[:, None] for layer, mask in masked])[rows] * is_used[:, None])
            biases.append(torch.cat([layer.bias * mask for layer, mask in masked])[rows] * is_used)
        projection = torch.cat(weights).numpy()
        if self.skip:
            projection[:, : self.embedding] *= self._embedding_scale
        self._add("output", projection)
        self._add("output_bias", torch.cat(biases).numpy())
        scale, integers = quantize(projection)
        self._add("output_int8", integers.T)
        self._add("output_scale", scale)

    def _add_voices(self, voices: VoiceLayers) -> None:
        tracker, linear = voices.tracker, self.linear
        assert linear is not None
        vocabulary = self.vocabulary
        self._add("voice_offsets", voices.offsets.numpy())
        self._add("intervals", none_interval_last(voices.intervals.numpy(), tracker.pitches).reshape(-1))
        self.column_rows = [source * (vocabulary + 1) for source in range(tracker.voices + 1)]
        positions, offsets = np.arange(self.position_count)[:, None], voices.offsets.numpy()
        self.lookups = Lookups.of(
            linear,
            features=voices.columns.numpy(),
            tables=np.concatenate([vocabulary + positions, vocabulary + self.position_count + offsets], axis=1),
            column_rows=self.column_rows,
            with_profile=voices.key is not None,
        )
        self._add("voice_step", self.lookups.step)
        self._add("lookup_begin", self.lookups.begin)
        self._add("lookup_bound", self.lookups.bound)
        self._add("voice_gates", linear.gates)
        self._add("voice_values", linear.values)
        if voices.key is not None:
            self._add("key", voices.key.weight.numpy().T * np.float32(PROFILE_SCALE) / self._embedding_scale[None, :])
            self._trained.append("key")
            turned = np.concatenate(
                [tracker.rotations, tracker.rotations[:1]]
            )  # the last row is for a voice without a pitch
            steps = np.arange(len(DECAYS))[:, None] * turned.shape[1]
            self._add("turned", (turned[:, None] + steps).reshape(len(turned), -1).astype(np.int32))
        if voices.output is not None:
            # A row for each voice and last pitch of it, then one for the plain output over the vocabulary.
            intervals = np.concatenate([voices.intervals.numpy().T, np.zeros((1, vocabulary), np.int64)])
            by_interval = vocabulary + np.arange(tracker.voices)[:, None, None] * voices.span + intervals
            columns = np.concatenate([by_interval.reshape(-1, vocabulary), np.arange(vocabulary)[None]])
            self._add("relative_columns", columns.astype(np.int32))

    def _add_notes(self, notes: NoteLayers) -> None:
        window = notes.masked_window.numpy().T / self._embedding_scale[None, :]
        self._add("note_window", window)
        scale, integers = quantize(np.ascontiguousarray(window.T))
        self._add("note_window_int8", integers.T)
        self._add("note_window_scale", scale)
        self._add(
            "note_shares", notes.masked_profile.numpy().T * np.float32(SHARE_SCALE) / self._embedding_scale[None, :]
        )
        self._add("note_trust", notes.masked_trust.numpy())

    def _add_stacked(self, name: str, parts: dict[str, NDArray[np.float32]]) -> None:
        """Add arrays stacked along the first axis; `{name}_{part}` is a view of one of them."""
        begin, first = self._size, 0
        for part, array in parts.items():
            self.first_rows[f"{name}_{part}"] = first
            first += len(array)
        self._add(name, np.concatenate(list(parts.values())))
        self._parts[name] = [f"{name}_{part}" for part in parts]
        for part, array in parts.items():
            self._spans[f"{name}_{part}"] = _Span(begin, np.ascontiguousarray(array))
            begin += array.nbytes

    def _add(self, name: str, array: NDArray[np.generic]) -> None:
        self._spans[name] = _Span(self._size, np.ascontiguousarray(array))
        self._size += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT

    def add_table(self, name: str, array: NDArray[np.generic]) -> None:
        """Add a constant array, if there is none of this name. `save` writes those that are there when it is called."""
        if name not in self._spans:
            self._add(name, array)

    def tensor(self, name: str, shape: tuple[int, ...] | None = None, alias: str | None = None) -> TensorProto:
        """An initializer that points into the file; `shape` views the same bytes in another shape.

        Short integer arrays lie in the graph itself, because shape inference cannot read external data.
        """
        span = self._spans[name]
        if span.array.dtype.kind == "i" and span.array.nbytes < _INLINE_BYTES:
            array = span.array if shape is None else span.array.reshape(shape)
            return numpy_helper.from_array(array, alias or name)
        tensor = TensorProto(
            name=alias or name,
            data_type=helper.np_dtype_to_tensor_dtype(span.array.dtype),
            dims=span.array.shape if shape is None else shape,
            data_location=TensorProto.EXTERNAL,
        )
        for key, value in (("location", WEIGHTS), ("offset", span.offset), ("length", span.array.nbytes)):
            tensor.external_data.add(key=key, value=str(value))
        return tensor

    def adopt(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Replace the arrays of the network by those of another export of it, which differ by rounding.

        Nothing happens if one is missing or has another size: each depends on the scale of the embeddings.
        """
        # A graph refers to a stacked array as a whole or to its parts.
        whole = [name for name in self._trained if name in arrays or name not in self._parts]
        names = whole + [part for name in self._trained if name not in whole for part in self._parts[name]]
        for name in names:
            own, other = self._spans[name].array, arrays.get(name)
            if other is None or (other.dtype, other.size) != (own.dtype, own.size):
                return
        data = self._data()
        for name in names:
            _write(data, self._spans[name].offset, arrays[name])
        for name, span in self._spans.items():
            values = np.frombuffer(data, span.array.dtype, span.array.size, span.offset)
            self._spans[name] = _Span(span.offset, values.reshape(span.array.shape))

    def save(self, folder: Path) -> None:
        """Write the file of weights."""
        (folder / WEIGHTS).write_bytes(self._data())

    def _data(self) -> bytearray:
        data = bytearray(self._size)
        for span in self._spans.values():
            _write(data, span.offset, span.array)
        return data


def _write(data: bytearray, offset: int, array: NDArray[np.generic]) -> None:
    data[offset : offset + array.nbytes] = array.tobytes()


def _reorder_gates(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reorder gates along the first axis from PyTorch's order (i, f, g, o) to `GATES`."""
    i, f, g, o = np.split(weights, 4)
    return np.concatenate([i, o, f, g])


def quantize(weights: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Quantise weights (outputs, inputs) to a scale per output, (outputs,), and integers (outputs, inputs)."""
    scale = np.maximum(np.abs(weights).max(axis=1), np.finfo(np.float32).tiny) / WEIGHT_LEVELS
    return scale.astype(np.float32), np.rint(weights / scale[:, None]).astype(np.int8)


def voice_row_order(voices: VoiceLayers) -> NDArray[np.int64]:
    """Order of the rows of the voices' table in the graphs, (rows,), as `LinearVoiceTracker.features` counts them.

    "No interval" is the first row of an interval feature in PyTorch, and the last in the graphs.
    """
    tracker = voices.tracker
    used = set(voices.columns.tolist())
    names = [name for name, sizes in tracker.feature_groups.items() for _ in sizes]
    features = [(names[column], size) for column, size in enumerate(tracker.feature_sizes) if column in used]
    orders = [
        np.roll(np.arange(size), -1) if name in INTERVALS else np.arange(size)
        for _ in range(tracker.voices)
        for name, size in features
    ]
    starts = np.cumsum([0, *(len(order) for order in orders[:-1])])
    rows: NDArray[np.int64] = np.concatenate([start + order for start, order in zip(starts, orders, strict=True)])
    assert len(rows) == len(voices.table.weight)
    return rows
