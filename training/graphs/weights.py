"""Everything constant in the graphs, laid out in one external data file that they share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from music.tokenizers import Tokenizer
from music.voicing import DECAYS
from training.model import MusicLSTM
from training.voices import SHARES, Voices

WEIGHTS: Final = "weights.bin"
_ALIGNMENT: Final = 64
_INLINE_BYTES: Final = 1024
FORBIDDEN: Final = -1e30
"""Added to the logits of tokens that may not come: exp() of it is exactly 0, and unlike -inf it never makes a NaN."""


@dataclass(frozen=True, slots=True)
class _Span:
    """Where an array lies in the file of weights."""

    offset: int
    array: NDArray[np.generic]


class Weights:
    """Arrays by name. The embeddings of a clock row's features are summed, and so are those of a grammar state's."""

    def __init__(self, model: MusicLSTM, tokenizer: Tokenizer) -> None:
        self.layers = model.config.layers
        self.hidden = model.config.hidden
        self.embedding = model.config.embedding
        self.vocabulary = model.vocabulary
        self.voices = model.voices
        self.voicing = tokenizer.voicing if model.voices is not None else None
        self.skip = model.config.skip
        self.seen = model.output.in_features
        self.told_grammar = len(model.grammar) > 0
        self._spans: dict[str, _Span] = {}
        self._size = 0
        with torch.no_grad():
            self._add_lstm(model, tokenizer)
            self._add_output(model)
            if model.voices is not None:
                self._add_voices(model.voices)
        grammar = tokenizer.grammar
        automata = [grammar] if grammar.beside is None else [grammar, grammar.beside]
        self.automata = len(automata)
        for index, automaton in enumerate(automata):
            self._add(f"grammar_penalty_{index}", np.where(automaton.allowed, 0.0, FORBIDDEN).astype(np.float32))
            self._add(f"grammar_successor_{index}", automaton.successor.astype(np.int64).reshape(-1))
        self.states_beside = len(automata[-1].allowed)
        self._add("clock_successor", tokenizer.clock.successor.astype(np.int64))

    def _add_lstm(self, model: MusicLSTM, tokenizer: Tokenizer) -> None:
        self._add("token_embedding", model.token.weight.numpy())
        self._add("clock_embedding", model.clock_embedding(torch.arange(len(tokenizer.clock.successor))).numpy())
        if self.told_grammar:
            states = torch.arange(len(tokenizer.grammar.allowed))
            self._add("grammar_embedding", model.grammar_embedding(states).numpy())
        for index, layer in enumerate(model.layers):
            self._add(f"input_{index}", _gates(layer.input.numpy()))
            self._add(f"recurrent_{index}", _gates(layer.recurrent.numpy()))
            self._add(f"bias_{index}", _gates(layer.bias.numpy()))

    def _add_output(self, model: MusicLSTM) -> None:
        """One projection for the vocabulary and, after it, for the intervals from every voice."""
        weights: list[torch.Tensor] = [model.output.weight]
        biases: list[torch.Tensor] = [model.output.bias]
        voices = model.voices
        if voices is not None and voices.output is not None:
            none = voices.none.repeat(voices.voicing.voices)
            weights.append(voices.output.weight.masked_fill(none[:, None], 0.0))
            biases.append(voices.output.bias.masked_fill(none, 0.0))
        self._add("output", torch.cat(weights).numpy())
        self._add("output_bias", torch.cat(biases).numpy())

    def _add_voices(self, voices: Voices) -> None:
        voicing, intervals = voices.voicing, voices.intervals.numpy()
        self._add("voice_table", voices.table.weight.numpy())
        self._add("voice_offsets", voices.offsets.numpy())
        self._add("intervals", intervals.reshape(-1))
        self._add("pitch_class", voicing.pitch_class)
        if voices.key is not None:
            self._add("key", voices.key.weight.numpy().T * np.float32(SHARES))
            self._add("turned", np.repeat(voices.turned.numpy()[:, None], len(DECAYS), axis=1))
        if voices.output is not None:
            starts = np.arange(voicing.voices)[:, None, None] * voices.span
            self._add("relative_columns", (intervals.T + starts).reshape(-1, self.vocabulary))  # a row a heard token

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
            return numpy_helper.from_array(span.array, alias or name)
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
    """Reorder the gates along the first axis from PyTorch's (i, f, g, o) to ONNX's (i, o, f, g)."""
    i, f, g, o = np.split(weights, 4)
    return np.concatenate([i, o, f, g])
