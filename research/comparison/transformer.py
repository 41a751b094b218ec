"""A decoder-only Transformer for comparison: it reads the tokens that a plain LSTM reads."""

from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from music.tokenizers import Tokenizer
from training.config import NetworkConfig
from training.network.inputs import Inputs

MEMORY: Final = 512
"""Tokens before a window that its tokens can attend to."""
HEAD_WIDTH: Final = 32
_ROTARY_BASE: Final = 10_000.0
_EMBEDDING_SCALE: Final = 0.1
_WEIGHT_SCALE: Final = 0.02


class Memory(NamedTuple):
    """Keys and values of the last tokens, each (layers, batch, heads, `MEMORY`, `HEAD_WIDTH`), the latest last."""

    keys: Tensor
    values: Tensor
    lengths: Tensor
    """(batch,) int64: tokens of the piece so far, at most `MEMORY`. Older places are not attended to."""

    def detach(self) -> "Memory":
        """The same values, cut from the autograd graph."""
        return Memory(self.keys.detach(), self.values.detach(), self.lengths)

    def zero_rows(self, reset: Tensor) -> "Memory":
        """The memory, empty in the batch rows where `reset` (batch,) bool is True."""
        return Memory(self.keys, self.values, self.lengths.masked_fill(reset, 0))


class MusicTransformer(nn.Module):
    """Predicts each token from those before it and from the grammar's state, which gives type and place in the bar.

    Pre-norm layers with root-mean-square normalisation. Attention is relative by rotary embeddings (Su et al.,
    "RoFormer", 2021). A window also attends to the last `MEMORY` tokens before it (Dai et al., "Transformer-XL", 2019):
    so each token of a piece sees at least so many, in training and in evaluation.
    """

    def __init__(self, config: NetworkConfig, tokenizer: Tokenizer) -> None:
        """Create the network.

        Args:
            config: `hidden` is the width of the layers; of the rest, `layers` and `dropout_between` are used.
            tokenizer: of the pieces.
        """
        super().__init__()
        width = self._width = config.hidden
        assert width % HEAD_WIDTH == 0
        grammar = tokenizer.grammar
        self.token = nn.Embedding(tokenizer.vocabulary_size, width)
        self.grammar = nn.ModuleList(nn.Embedding(size, width) for size in grammar.feature_sizes)
        self._feature_tables = len(grammar.feature_tables)
        for index, features in enumerate(grammar.feature_tables):
            self.register_buffer(f"grammar_features_{index}", torch.as_tensor(features).long(), persistent=False)
        self.layers = nn.ModuleList(_Layer(width, config) for _ in range(config.layers))
        self.gain = nn.Parameter(torch.ones(width))
        self.output = nn.Linear(width, tokenizer.vocabulary_size)
        for table in (self.token.weight, *self.grammar.parameters()):
            nn.init.normal_(table, std=_EMBEDDING_SCALE)
        nn.init.normal_(self.output.weight, std=_WEIGHT_SCALE)
        nn.init.zeros_(self.output.bias)

    def zero_state(self, batch: int) -> Memory:
        """The memory before the first token."""
        shape = (len(self.layers), batch, self._width // HEAD_WIDTH, MEMORY, HEAD_WIDTH)
        zeros = self.output.weight.new_zeros(shape)
        return Memory(zeros, zeros, torch.zeros(batch, dtype=torch.int64, device=zeros.device))

    def forward(self, inputs: Inputs[Tensor], memory: Memory) -> tuple[Tensor, Memory]:
        """Run `time` steps.

        Args:
            inputs: of each step, (time, batch, ...).
            memory: of the tokens before the first step.

        Returns:
            logits (time, batch, vocabulary) float32 and the memory after the last step.
        """
        values = (self.token(inputs.previous) + self._grammar_embedding(inputs.grammar_states)).transpose(0, 1)
        time = values.shape[1]
        rotation = _Rotation.of(MEMORY + time, values.device)
        places = torch.arange(MEMORY + time, device=values.device)
        steps = places[MEMORY:]
        causal = places <= steps[:, None]
        known = places >= MEMORY - memory.lengths[:, None]
        mask = causal & known[:, None, None, :]  # (batch, 1, time, MEMORY + time)
        keys, cached = [], []
        for index, layer in enumerate(self.layers):
            values, layer_keys, layer_values = layer(values, memory.keys[index], memory.values[index], mask, rotation)
            keys.append(layer_keys)
            cached.append(layer_values)
        logits = self.output(functional.rms_norm(values, (self._width,), self.gain)).transpose(0, 1)
        lengths = (memory.lengths + time).clamp_max(MEMORY)
        return logits.float(), Memory(torch.stack(keys), torch.stack(cached), lengths)

    @property
    def parameter_count(self) -> int:
        """Number of trained parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def _grammar_embedding(self, states: Tensor) -> Tensor:
        """Embeds joint states of the automata with features: (...,) int64 to (..., width)."""
        features = torch.zeros(1, dtype=torch.int64, device=states.device)
        for index in reversed(range(self._feature_tables)):
            table = self.get_buffer(f"grammar_features_{index}")
            features = features + table[states % len(table)]
            states = states // len(table)
        parts = [embedding(features[..., index]) for index, embedding in enumerate(self.grammar)]
        return torch.stack(parts).sum(0)


class _Rotation(NamedTuple):
    """Rotary embedding of successive places: cosines and sines, each (places, `HEAD_WIDTH`)."""

    cosines: Tensor
    sines: Tensor

    @classmethod
    def of(cls, places: int, device: torch.device) -> "_Rotation":
        rates = _ROTARY_BASE ** (-torch.arange(0, HEAD_WIDTH, 2, device=device) / HEAD_WIDTH)
        angles = (torch.arange(places, device=device)[:, None] * rates).repeat(1, 2)
        return cls(angles.cos(), angles.sin())

    def __call__(self, values: Tensor) -> Tensor:
        """Rotate values (..., time, `HEAD_WIDTH`) that stand at the last `time` places."""
        time = values.shape[-2]
        first, second = values.chunk(2, -1)
        return values * self.cosines[-time:] + torch.cat([-second, first], -1) * self.sines[-time:]


class _Layer(nn.Module):
    """Attention, then two linear layers with a GELU between, each on normalised values and added to them."""

    def __init__(self, width: int, config: NetworkConfig) -> None:
        super().__init__()
        self._dropout = config.dropout_between
        self.attend = nn.Linear(width, 3 * width, bias=False)
        self.project = nn.Linear(width, width, bias=False)
        self.widen = nn.Linear(width, 4 * width, bias=False)
        self.narrow = nn.Linear(4 * width, width, bias=False)
        self.gain_attend = nn.Parameter(torch.ones(width))
        self.gain_widen = nn.Parameter(torch.ones(width))
        for last in (self.project, self.narrow):
            nn.init.normal_(last.weight, std=_WEIGHT_SCALE / (2 * config.layers) ** 0.5)

    def forward(
        self, values: Tensor, keys: Tensor, cached: Tensor, mask: Tensor, rotation: _Rotation
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The values (batch, time, width) after this layer, and its new keys and values for the memory."""
        batch, time, width = values.shape
        normal = functional.rms_norm(values, (width,), self.gain_attend)
        heads = self.attend(normal).view(batch, time, 3, -1, HEAD_WIDTH).permute(2, 0, 3, 1, 4)
        query, own_keys, own_values = heads.unbind()
        keys, cached = torch.cat([keys, own_keys], -2), torch.cat([cached, own_values], -2)
        found = functional.scaled_dot_product_attention(rotation(query), rotation(keys), cached, attn_mask=mask)
        values = values + self._drop(self.project(found.transpose(1, 2).reshape(batch, time, width)))
        normal = functional.rms_norm(values, (width,), self.gain_widen)
        values = values + self._drop(self.narrow(functional.gelu(self.widen(normal))))
        return values, keys[..., -MEMORY:, :].detach(), cached[..., -MEMORY:, :].detach()

    def _drop(self, values: Tensor) -> Tensor:
        return functional.dropout(values, self._dropout, self.training)
