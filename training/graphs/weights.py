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
from training.voices import SHARES

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
    """Arrays by name.

    What is embedded by table alone is folded into the first layer's input projection (embedding x W_ih): one row a
    token, one a clock row (with the bias), and one a state of the grammar if the network is told of it. The registers'
    embeddings are too many to fold; they meet W_ih in the graph.
    """

    def __init__(self, model: MusicLSTM, tokenizer: Tokenizer) -> None:
        self.layers = model.config.layers
        self.hidden = model.config.hidden
        self.embedding = model.config.embedding
        self.vocabulary = model.vocabulary
        self.voicing = tokenizer.voicing if model.voices is not None else None
        self.told_grammar = len(model.grammar) > 0
        self._spans: dict[str, _Span] = {}
        self._size = 0
        with torch.no_grad():
            self._add_lstm(model, tokenizer)
            self._add_output(model)
            if model.voices is not None:
                voices = model.voices
                self._add("voice_table", voices.table.weight.numpy())
                self._add("voice_offsets", voices.offsets.numpy())
                self._add("key", voices.key.weight.numpy().T * np.float32(SHARES))
                self._add("turned", np.repeat(voices.turned.numpy()[:, None], len(DECAYS), axis=1))
                self._add("pitch_class", voices.voicing.pitch_class)
                self._add("intervals", voices.intervals.numpy().reshape(-1))
                starts = np.arange(voices.voicing.voices)[:, None, None] * voices.span
                columns = voices.intervals.numpy().T + starts  # (voices, sounding, tokens)
                self._add("relative_columns", columns.reshape(-1, self.vocabulary))
        grammar = tokenizer.grammar
        self._add("grammar_penalty", np.where(grammar.allowed, 0.0, FORBIDDEN).astype(np.float32))
        self._add("grammar_successor", grammar.successor.astype(np.int64).reshape(-1))
        self._add("clock_successor", tokenizer.clock.successor.astype(np.int64))

    def _add_lstm(self, model: MusicLSTM, tokenizer: Tokenizer) -> None:
        token = model.token.weight.double()
        clock = model.clock_embedding(torch.arange(len(tokenizer.clock.successor))).double()
        layers = model.layers
        first, bias = layers[0].input.double(), layers[0].bias.double()
        self._add("token_embedding", token.float().numpy())
        self._add("clock_embedding", clock.float().numpy())
        self._add("token_table", _gates((token @ first.T).T.float().numpy()).T)
        self._add("clock_table", _gates((clock @ first.T + bias).T.float().numpy()).T)
        if self.told_grammar:
            grammar = model.grammar_embedding(torch.arange(len(tokenizer.grammar.allowed))).double()
            self._add("grammar_embedding", grammar.float().numpy())
            self._add("grammar_table", _gates((grammar @ first.T).T.float().numpy()).T)
        for index, layer in enumerate(layers):
            self._add(f"input_{index}", _gates(layer.input.numpy()))
            self._add(f"recurrent_{index}", _gates(layer.recurrent.numpy()))
            self._add(f"bias_{index}", _gates(layer.bias.numpy()))

    def _add_output(self, model: MusicLSTM) -> None:
        """One projection for the vocabulary and, after it, for every voice's intervals."""
        weights: list[torch.Tensor] = [model.output.weight]
        biases: list[torch.Tensor] = [model.output.bias]
        if model.voices is not None:
            silent = model.voices.none.repeat(model.voices.voicing.voices)
            weights.append(model.voices.output.weight.masked_fill(silent[:, None], 0.0))
            biases.append(model.voices.output.bias.masked_fill(silent, 0.0))
        self._add("output", torch.cat(weights).numpy())
        self._add("output_bias", torch.cat(biases).numpy())

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
