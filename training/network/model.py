"""The network: an LSTM over embedded tokens, with an absolute output and outputs by interval."""

from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from music.remaining_length import UNKNOWN
from music.tokenizers import Tokenizer
from training.config import NetworkConfig
from training.network.inputs import Inputs
from training.network.note_layers import NoteLayers, NoteTensors
from training.network.voice_layers import VoiceLayers

_REMAINING_SCALE: Final = 0.1
"""Standard deviation of the embeddings of the remaining length at first. It matters in few steps of a piece."""


class State(NamedTuple):
    """LSTM state, each (layers, batch, hidden)."""

    h: Tensor
    c: Tensor

    def detach(self) -> "State":
        """The same values, cut from the autograd graph."""
        return State(self.h.detach(), self.c.detach())

    def zero_rows(self, reset: Tensor) -> "State":
        """The state with zeros in the batch rows where `reset` (batch,) bool is True."""
        mask = ~reset[None, :, None]
        return State(self.h * mask, self.c * mask)


class Layer(NamedTuple):
    """Weights of one LSTM layer. The gates lie along the first axis in the order i, f, g, o."""

    input: Tensor
    """(4 * hidden, width)."""
    recurrent: Tensor
    """(4 * hidden, hidden)."""
    input_bias: Tensor
    """(4 * hidden,)."""
    recurrent_bias: Tensor
    """(4 * hidden,)."""

    @property
    def bias(self) -> Tensor:
        """Sum of both biases."""
        return self.input_bias + self.recurrent_bias


class MusicLSTM(nn.Module):
    """Predicts each token from the tokens before it, its metrical position, and perhaps the length that is left.

    The embedding of a step is a sum over the previous token, the features of the position of the token to predict, the
    features of the remaining length if the network has this input, and the features of the grammar's state if the
    tokenizer has any. A tokenizer with voices adds voice states (`music.voice_tracker`): each of their features has an
    embedding for every place in the step. Beside the output over the vocabulary there is then one output for each
    sounding voice, which scores pitches by their interval from it. So what the network learns about a fourth above the
    bass holds for every bass note. The tokenizer `events` adds what the notes so far say (`NoteLayers`). The outputs
    see the inputs and every layer (skip connections, as in Graves, 2013), if the configuration says so.
    """

    def __init__(self, config: NetworkConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = tokenizer.vocabulary_size
        width = config.embedding
        positions, grammar = tokenizer.positions, tokenizer.grammar
        self.token = nn.Embedding(self.vocabulary, width)
        self.position = nn.ModuleList(nn.Embedding(size, width) for size in positions.feature_sizes)
        self.grammar = nn.ModuleList(nn.Embedding(size, width) for size in grammar.feature_sizes)
        remaining = tokenizer.remaining_length
        sizes = remaining.feature_sizes if config.length_input else ()
        self.remaining = nn.ModuleList(nn.Embedding(size, width) for size in sizes)
        self.position_features: Tensor
        self.remaining_offsets: Tensor
        self.remaining_divisors: Tensor
        self.remaining_limits: Tensor
        self._constant("position_features", positions.features)
        self._constant("remaining_offsets", remaining.offsets)
        self._constant("remaining_divisors", remaining.divisors)
        self._constant("remaining_limits", np.array(remaining.limits))
        self._feature_tables = len(grammar.feature_tables)
        for index, features in enumerate(grammar.feature_tables):
            self._constant(f"grammar_features_{index}", features)
        widths = [width, *[config.hidden] * (config.layers - 1)]
        self.lstm = nn.ModuleList(nn.LSTM(width, config.hidden) for width in widths)
        output_width = width + config.layers * config.hidden if config.skip else config.hidden
        self.output = nn.Linear(output_width, self.vocabulary)
        self.voices: VoiceLayers | None = None
        if tokenizer.voice_tracker is not None and (config.voice_features or config.interval_output):
            self.voices = VoiceLayers(
                config, tokenizer.voice_tracker, positions.features[:, 0], output_width=output_width
            )
        self.notes: NoteLayers | None = None
        if tokenizer.note_tracker is not None and config.note_features:
            self.notes = NoteLayers(config, tokenizer.note_tracker, self.vocabulary, output_width=output_width)
        self._initialise()

    def _constant(self, name: str, values: NDArray[np.integer[Any]]) -> None:
        self.register_buffer(name, torch.as_tensor(values, dtype=torch.long), persistent=False)

    def _initialise(self) -> None:
        """Small embeddings, orthogonal recurrent weights, forget gates open at first (Jozefowicz et al., 2015)."""
        for embedding in (self.token, *self.position, *self.grammar):
            nn.init.normal_(embedding.weight, std=0.5)
        for table in self.remaining.parameters():
            nn.init.normal_(table, std=_REMAINING_SCALE)
        hidden = self.config.hidden
        for layer in self.layers:
            for gate in layer.recurrent.chunk(4):
                nn.init.orthogonal_(gate)
            nn.init.xavier_uniform_(layer.input)
            nn.init.zeros_(layer.input_bias)
            nn.init.zeros_(layer.recurrent_bias)
            nn.init.ones_(layer.input_bias[hidden : 2 * hidden])
        nn.init.xavier_uniform_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    @property
    def layers(self) -> list[Layer]:
        """The weights of each LSTM layer."""
        return [Layer(*lstm.all_weights[0]) for lstm in self.lstm if isinstance(lstm, nn.LSTM)]

    def zero_state(self, batch: int) -> State:
        """State before the first token."""
        shape = (self.config.layers, batch, self.config.hidden)
        zeros = self.output.weight.new_zeros(shape)
        return State(zeros, zeros)

    def position_embedding(self, rows: Tensor) -> Tensor:
        """Embeds position indices: (...,) int64 to (..., embedding)."""
        return _embed(self.position, self.position_features[rows])

    def grammar_embedding(self, states: Tensor) -> Tensor:
        """Embeds joint states of the automata with features: (...,) int64 to (..., embedding)."""
        features = torch.zeros(1, dtype=torch.int64, device=states.device)
        for index in reversed(range(self._feature_tables)):
            table = self.get_buffer(f"grammar_features_{index}")
            features = features + table[states % len(table)]
            states = states // len(table)
        return _embed(self.grammar, features)

    def remaining_embedding(self, remaining: Tensor, position_indices: Tensor) -> Tensor:
        """Embeds remaining lengths (...,) int64 at position indices (...,) int64: (..., embedding).

        The features are those of `music.remaining_length.RemainingLength.features`.
        """
        offsets, divisors = self.remaining_offsets[position_indices], self.remaining_divisors[position_indices]
        quotients = (remaining.unsqueeze(-1) + offsets + divisors - 1) // divisors
        values = 1 + torch.minimum(quotients, self.remaining_limits)
        return _embed(self.remaining, torch.where(remaining.unsqueeze(-1) == UNKNOWN, 0, values))

    def forward(self, inputs: Inputs[Tensor], state: State) -> tuple[Tensor, State]:
        """Run `time` steps.

        Args:
            inputs: of each step, (time, batch, ...).
            state: the state before the first step.

        Returns:
            logits (time, batch, vocabulary) float32 and the state after the last step.
        """
        config = self.config
        sets = self._key_sets(inputs)
        values = self._dropout(self._embedding(inputs, sets), config.dropout_input)
        if self.remaining:
            # Without dropout: few steps of a piece show that it nears its end.
            values = values + self.remaining_embedding(inputs.remaining, inputs.position_indices)
        h, c = [], []
        outputs = [values]
        for index, layer in enumerate(self.lstm):
            if index:
                values = self._dropout(values, config.dropout_between)
            values, (last_h, last_c) = layer(values, (state.h[index : index + 1], state.c[index : index + 1]))
            h.append(last_h)
            c.append(last_c)
            outputs.append(values)
        values = self._dropout(torch.cat(outputs, -1) if config.skip else values, config.dropout_output)
        logits = self.output(values)
        if self.voices is not None:
            logits = logits + self.voices.interval_logits(values, inputs.voice_states)
        if self.notes is not None:
            assert sets is not None
            logits = self.notes.logits(values, logits.float(), NoteTensors.of(inputs), sets)
        return logits.float(), State(torch.cat(h), torch.cat(c))

    def embedding(self, inputs: Inputs[Tensor]) -> Tensor:
        """Sum of all embeddings of each step, (time, batch, embedding)."""
        values = self._embedding(inputs, self._key_sets(inputs))
        if self.remaining:
            values = values + self.remaining_embedding(inputs.remaining, inputs.position_indices)
        return values

    def _key_sets(self, inputs: Inputs[Tensor]) -> Tensor | None:
        return None if self.notes is None else self.notes.key_sets(NoteTensors.of(inputs))

    def _embedding(self, inputs: Inputs[Tensor], sets: Tensor | None) -> Tensor:
        """Sum of all embeddings but that of the remaining length."""
        positions = inputs.position_indices
        values: Tensor = self.token(inputs.previous) + self.position_embedding(positions)
        if self.grammar:
            values = values + self.grammar_embedding(inputs.grammar_states)
        if self.voices is not None:
            values = values + self.voices.embedding(inputs.voice_states, inputs.profile, positions)
        if self.notes is not None:
            assert sets is not None
            values = values + self.notes.embedding(NoteTensors.of(inputs), sets)
        return values

    @property
    def parameter_count(self) -> int:
        """Number of trained parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def _dropout(self, values: Tensor, probability: float) -> Tensor:
        return nn.functional.dropout(values, probability, self.training)


def _embed(embeddings: nn.ModuleList, features: Tensor) -> Tensor:
    """Embed each feature of (..., features) with its own table, and sum: (..., embedding)."""
    parts = [embedding(features[..., index]) for index, embedding in enumerate(embeddings)]
    return torch.stack(parts).sum(0)
