"""The network as a plain PyTorch module that takes one step for a batch of pieces."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.peers.voices import VoiceState
from music.bundle import Bundle
from training.restored import read_arrays

_LEAST_SHARE: Final = 1e-6
_TORCH_GATES: Final = (0, 2, 3, 1)
"""Where PyTorch's gates i, f, g, o lie among ONNX's i, o, f, g."""


class PieceState:
    """Where some pieces stand: what was said last, the clock, the grammar, the voices, and the LSTM."""

    def __init__(self, bundle: Bundle, clock_rows: Sequence[int]) -> None:
        network, tokenizer, pieces = bundle.network, bundle.tokenizer, len(clock_rows)
        self._tokenizer = tokenizer
        self.token = np.full(pieces, tokenizer.start_token, np.int64)
        self.clock = np.array(clock_rows, np.int64)
        self.joint = [tokenizer.grammar.joint_start] * pieces
        self.voices = VoiceState(tokenizer.voicing, pieces) if network.registers and tokenizer.voicing else None
        self.h = [torch.zeros(pieces, network.hidden) for _ in range(network.layers)]
        self.c = [torch.zeros(pieces, network.hidden) for _ in range(network.layers)]

    @property
    def grammar(self) -> NDArray[np.int64]:
        """The grammar's own states, (pieces,)."""
        beside = self._tokenizer.grammar.beside
        return np.array(self.joint, np.int64) // (1 if beside is None else beside.joint_size)

    def allowed(self) -> NDArray[np.bool_]:
        """What the grammar lets come, (pieces, vocabulary)."""
        return np.stack([self._tokenizer.grammar.joint_allowed(state) for state in self.joint])

    def advance(self, tokens: NDArray[np.int64]) -> None:
        """Take one more token of each piece, (pieces,)."""
        grammar = self._tokenizer.grammar
        self.token = tokens
        self.clock = self._tokenizer.clock.successor[self.clock].astype(np.int64)
        self.joint = [
            grammar.joint_successor(state, token) for state, token in zip(self.joint, tokens.tolist(), strict=True)
        ]
        if self.voices is not None:
            self.voices.advance(tokens)


class PlainNetwork(nn.Module):
    """Embeddings, LSTM cells and an output layer, with the weights of a bundle's float32 graphs."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        weights = read_arrays(bundle)
        network, voicing = bundle.network, bundle.tokenizer.voicing
        self.token = _embedding(weights["rows_token"])
        self.clock = _embedding(weights["rows_clock"])
        self.grammar = _embedding(weights["rows_grammar"]) if "rows_grammar" in weights else None
        self.cells = nn.ModuleList(_cell(weights, layer) for layer in range(network.layers))
        self.output = _linear(weights["output"], weights["output_bias"])
        self.skip = weights["output"].shape[1] > network.hidden
        self.vocabulary = network.vocabulary
        self.voices: nn.EmbeddingBag | None = None
        if network.registers and voicing is not None:
            recipe = bundle.manifest.provenance["config"]["network"]
            groups = [name for name, sizes in voicing.feature_groups.items() for _ in sizes]
            self.told = np.array([column for column, name in enumerate(groups) if name in recipe["told"]])
            table = torch.from_numpy(weights["rows_voices"].copy())
            self.voices = nn.EmbeddingBag(table.shape[0], table.shape[1], mode="sum", _weight=table)
            # The table has the rows of intervals turned by one.
            interval = 2 * voicing.pitches
            turned = [name in ("motions", "intervals", "before") for name in groups]
            self.turn = np.where(turned, interval, 0)[self.told]
            self.offsets = weights["voice_offsets"]
            self.key = _linear(weights["key"].T, None) if "key" in weights else None
            spans = np.arange(voicing.voices)[:, None] * interval + self.vocabulary
            columns = voicing.intervals.T[None] + spans[:, :, None]
            self.columns = torch.from_numpy(columns) if recipe["relative"] else None  # (voices, heard, vocabulary)

    def forward(self, state: PieceState) -> Tensor:
        """Logits (pieces, vocabulary) of the next tokens; the LSTM's state moves on."""
        values = self.token(torch.from_numpy(state.token)) + self.clock(torch.from_numpy(state.clock))
        if self.grammar is not None:
            values = values + self.grammar(torch.from_numpy(state.grammar))
        if state.voices is not None and self.voices is not None:
            values = values + self._voiced(state.voices, state.clock)
        outputs = [values]
        for layer, cell in enumerate(self.cells):
            state.h[layer], state.c[layer] = cell(values, (state.h[layer], state.c[layer]))
            values = state.h[layer]
            outputs.append(values)
        projected = self.output(torch.cat(outputs, 1) if self.skip else values)
        logits: Tensor = projected[:, : self.vocabulary]
        if state.voices is not None and self.columns is not None:
            heard = torch.from_numpy(state.voices.heard())
            columns = self.columns[torch.arange(heard.shape[1]), heard]  # (pieces, voices, vocabulary)
            logits = logits + projected.gather(1, columns.flatten(1)).view(columns.shape).sum(1)
        return logits

    def _voiced(self, voices: VoiceState, clock: NDArray[np.int64]) -> Tensor:
        assert self.voices is not None
        features = voices.features()[:, self.told]
        features = np.where(self.turn > 0, (features + self.turn - 1) % np.maximum(self.turn, 1), features)
        embedded: Tensor = self.voices(torch.from_numpy(features + self.offsets[clock]))
        if self.key is None:
            return embedded
        profile = torch.from_numpy(voices.turned_profile())
        shares = profile / profile.sum(-1, keepdim=True).clamp_min(_LEAST_SHARE)
        key: Tensor = self.key(shares.flatten(1))
        return embedded + key


def _embedding(table: NDArray[Any]) -> nn.Embedding:
    embedding = nn.Embedding(table.shape[0], table.shape[1])
    with torch.no_grad():
        embedding.weight.copy_(torch.from_numpy(table.copy()))
    return embedding


def _linear(weight: NDArray[Any], bias: NDArray[Any] | None) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(weight.copy()))
        if bias is not None:
            linear.bias.copy_(torch.from_numpy(bias.copy()))
    return linear


def _cell(weights: dict[str, NDArray[Any]], layer: int) -> nn.LSTMCell:
    def ordered(name: str) -> Tensor:
        array = np.squeeze(weights[f"{name}_{layer}_viewed"], axis=0)
        gates = np.split(array, 4)
        return torch.from_numpy(np.concatenate([gates[place] for place in _TORCH_GATES]))

    taken = ordered("input")
    cell = nn.LSTMCell(taken.shape[1], taken.shape[0] // 4)
    with torch.no_grad():
        cell.weight_ih.copy_(taken)
        cell.weight_hh.copy_(ordered("recurrent"))
        cell.bias_ih.copy_(ordered("bias"))
        cell.bias_hh.zero_()
    return cell
