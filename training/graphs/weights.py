"""Everything constant in the graphs, laid out in one external data file that they share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from music.linear_voicing import INTERVALS, LinearVoicing, stored_lower
from music.tokenizers import Tokenizer
from music.voicing import DECAYS
from training.graphs.lookups import Lookups
from training.model import MusicLSTM
from training.voices import SHARES, Voices

WEIGHTS: Final = "weights.bin"
_ALIGNMENT: Final = 64
_INLINE_BYTES: Final = 1024
FORBIDDEN: Final = -1e30
"""Added to the logits of tokens that may not come: exp() of it is exactly 0, and unlike -inf it never makes a NaN."""
LEVELS: Final = 127
"""Steps of an activation from 0 to the greatest magnitude."""
WEIGHT_LEVELS: Final = 64
"""The same of a weight. CPUs with AVX2 and no dot products of bytes sum two products in 16 bits, and do so exactly if
255 * 2 times this is less than 2^15. Twice as many steps would gain 0.0001 nats and lose those CPUs."""
GATES: Final = ("i", "o", "f", "g")
"""The gates of a cell, in the order in which ONNX has them."""
ZERO_POINT: Final = 128
"""Where 0 lies among unsigned activations."""


@dataclass(frozen=True, slots=True)
class _Span:
    """Where an array lies in the file of weights."""

    offset: int
    array: NDArray[np.generic]


class Weights:
    """Arrays by name. The embeddings of a clock row's features are summed, and so are those of a grammar state's.

    Embeddings are stored in units of `reach`, (embedding,), the greatest magnitude that each number of their sum comes
    to, and the weights that take them in are multiplied by it: it changes nothing, and makes the sum's range the one
    that an LSTM's h has. Without `reach` they are stored as they are, and int8 cuts off what exceeds 1.
    """

    def __init__(self, model: MusicLSTM, tokenizer: Tokenizer, reach: NDArray[np.float32] | None = None) -> None:
        self.layers = model.config.layers
        self.hidden = model.config.hidden
        self.embedding = model.config.embedding
        self.vocabulary = model.vocabulary
        self.clock_rows = len(tokenizer.clock.successor)
        self.voices = model.voices
        self.voicing = tokenizer.voicing if model.voices is not None else None
        self.linear = None if self.voicing is None else LinearVoicing(self.voicing)
        self.lookups: Lookups | None = None
        self.heard_tables: list[int] = []
        """Where the rows of each voice begin in the table of columns; last, the row of the plain output."""
        self.skip = model.config.skip
        self.seen = model.output.in_features
        self.told_grammar = len(model.grammar) > 0
        self._reach = np.ones(self.embedding, np.float32) if reach is None else reach
        self._spans: dict[str, _Span] = {}
        self._size = 0
        with torch.no_grad():
            self._add_embeddings(model, tokenizer)
            self._add_layers(model)
            self._add_output(model)
            if model.voices is not None:
                self._add_voices(model.voices)
        grammar = tokenizer.grammar
        self.automaton_states = tuple(len(automaton.allowed) for automaton in grammar.automata)
        """Number of states of each of the grammar's automata."""
        for index, automaton in enumerate(grammar.automata):
            self._add(f"grammar_penalty_{index}", np.where(automaton.allowed, 0.0, FORBIDDEN).astype(np.float32))
            self._add(f"grammar_successor_{index}", automaton.successor.astype(np.int64).reshape(-1))
        self.choices = grammar.choices
        """Tokens that the grammar ever leaves to choose from."""
        self._add("clock_successor", tokenizer.clock.successor.astype(np.int64))

    def _add_embeddings(self, model: MusicLSTM, tokenizer: Tokenizer) -> None:
        """All tables of rows that are summed, one below the other, so that one lookup finds all rows of a step."""
        tables = {
            "token": model.token.weight.numpy(),
            "clock": model.clock_embedding(torch.arange(self.clock_rows)).numpy(),
        }
        if self.told_grammar:
            states = torch.arange(len(tokenizer.grammar.allowed))
            tables["grammar"] = model.grammar_embedding(states).numpy()
        if model.voices is not None:
            tables["voices"] = model.voices.table.weight.numpy()[row_order(model.voices)]
        self._add_stacked("rows", {name: (table / self._reach).astype(np.float32) for name, table in tables.items()})

    def _add_layers(self, model: MusicLSTM) -> None:
        for index, layer in enumerate(model.layers):
            taken, recurrent = _gates(layer.input.numpy()), _gates(layer.recurrent.numpy())
            if not index:
                taken = taken * self._reach
            bias = _gates(layer.bias.numpy())
            self._add(f"input_{index}", taken)
            self._add(f"recurrent_{index}", recurrent)
            self._add_stacked(f"bias_{index}", dict(zip(GATES, np.split(bias, len(GATES)), strict=True)))
            scale, both = rounded(np.concatenate([taken, recurrent], axis=1))
            self._add_stacked(f"layer_{index}_scale", dict(zip(GATES, np.split(scale, len(GATES)), strict=True)))
            for gate, rows in zip(GATES, np.split(both, len(GATES)), strict=True):
                self._add(f"layer_{index}_int8_{gate}", rows.T)
            self._add(f"input_{index}_int8", both[:, : taken.shape[1]].T)
            self._add(f"recurrent_{index}_int8", both[:, taken.shape[1] :].T)

    def _add_output(self, model: MusicLSTM) -> None:
        """One projection for the vocabulary and, after it, for the intervals from every voice."""
        weights: list[torch.Tensor] = [model.output.weight]
        biases: list[torch.Tensor] = [model.output.bias]
        voices = model.voices
        if voices is not None and voices.output is not None:
            none = voices.none.repeat(voices.voicing.voices)
            weights.append(voices.output.weight.masked_fill(none[:, None], 0.0))
            biases.append(voices.output.bias.masked_fill(none, 0.0))
        projection = torch.cat(weights).numpy()
        if self.skip:
            projection[:, : self.embedding] *= self._reach
        self._add("output", projection)
        self._add("output_bias", torch.cat(biases).numpy())
        scale, whole = rounded(projection)
        self._add("output_int8", whole.T)
        self._add("output_scale", scale)

    def _add_voices(self, voices: Voices) -> None:
        voicing, linear = voices.voicing, self.linear
        assert linear is not None
        vocabulary = self.vocabulary
        self._add("voice_offsets", voices.offsets.numpy())
        self._add("intervals", stored_lower(voices.intervals.numpy(), voicing.pitches).reshape(-1))
        self.heard_tables = [source * (vocabulary + 1) for source in range(voicing.voices + 1)]
        clocks, offsets = np.arange(self.clock_rows)[:, None], voices.offsets.numpy()
        self.lookups = Lookups.of(
            linear,
            told=voices.columns.numpy(),
            tables=np.concatenate([vocabulary + clocks, vocabulary + self.clock_rows + offsets], axis=1),
            heard_tables=self.heard_tables,
            profiled=voices.key is not None,
        )
        self._add("voice_step", self.lookups.step)
        self._add("lookup_begin", self.lookups.begin)
        self._add("lookup_bound", self.lookups.bound)
        self._add("voice_gates", linear.gates)
        self._add("voice_values", linear.values)
        if voices.key is not None:
            self._add("key", voices.key.weight.numpy().T * np.float32(SHARES) / self._reach[None, :])
            turned = np.concatenate([voicing.turned, voicing.turned[:1]])  # a row for a voice that has no pitch yet
            steps = np.arange(len(DECAYS))[:, None] * turned.shape[1]
            self._add("turned", (turned[:, None] + steps).reshape(len(turned), -1).astype(np.int32))
        if voices.output is not None:
            # A row for each voice and token that it was heard at, then one for the plain output over the vocabulary.
            intervals = np.concatenate([voices.intervals.numpy().T, np.zeros((1, vocabulary), np.int64)])
            relative = vocabulary + np.arange(voicing.voices)[:, None, None] * voices.span + intervals
            columns = np.concatenate([relative.reshape(-1, vocabulary), np.arange(vocabulary)[None]])
            self._add("relative_columns", columns.astype(np.int32))

    def _add_stacked(self, name: str, parts: dict[str, NDArray[np.float32]]) -> None:
        """Arrays one below the other, as one; `{name}_{part}` is a part alone."""
        begin = self._size
        self._add(name, np.concatenate(list(parts.values())))
        for part, array in parts.items():
            self._spans[f"{name}_{part}"] = _Span(begin, np.ascontiguousarray(array))
            begin += array.nbytes

    def _add(self, name: str, array: NDArray[np.generic]) -> None:
        self._spans[name] = _Span(self._size, np.ascontiguousarray(array))
        self._size += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT

    def tensor(self, name: str, shape: tuple[int, ...] | None = None, alias: str | None = None) -> TensorProto:
        """An initializer that points into the file; `shape` may view the same bytes in another way.

        Short integer arrays lie in the graph itself: shape inference may want to read them, and cannot read them
        from another file.
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

    def save(self, folder: Path) -> None:
        """Write the file of weights."""
        data = bytearray(self._size)
        for span in self._spans.values():
            data[span.offset : span.offset + span.array.nbytes] = span.array.tobytes()
        (folder / WEIGHTS).write_bytes(data)


def _gates(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reorder the gates along the first axis from PyTorch's (i, f, g, o) to `GATES`."""
    i, f, g, o = np.split(weights, 4)
    return np.concatenate([i, o, f, g])


def rounded(weights: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Weights (outputs, inputs) as a scale for each output, (outputs,), and whole multiples of it."""
    scale = np.maximum(np.abs(weights).max(axis=1), np.finfo(np.float32).tiny) / WEIGHT_LEVELS
    return scale.astype(np.float32), np.rint(weights / scale[:, None]).astype(np.int8)


def row_order(voices: Voices) -> NDArray[np.int64]:
    """Which row of the voices' table lies where, so that intervals are where `LinearVoicing.features` looks for them.

    There, a pitch that has no interval, which comes first in the table, comes last.
    """
    voicing = voices.voicing
    told = set(voices.columns.tolist())
    names = [name for name, sizes in voicing.feature_groups.items() for _ in sizes]
    features = [(names[column], size) for column, size in enumerate(voicing.feature_sizes) if column in told]
    orders = [
        np.roll(np.arange(size), -1) if name in INTERVALS else np.arange(size)
        for _ in range(voicing.voices)
        for name, size in features
    ]
    starts = np.cumsum([0, *(len(order) for order in orders[:-1])])
    rows: NDArray[np.int64] = np.concatenate([start + order for start, order in zip(starts, orders, strict=True)])
    assert len(rows) == len(voices.table.weight)
    return rows
