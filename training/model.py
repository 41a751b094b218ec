"""The network: an LSTM over embeddings of what was said, and outputs that count from what sounds."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from music.tokenizers import Tokenizer
from training.config import NetworkConfig
from training.voices import Voices


class State(NamedTuple):
    """LSTM state, each (layers, batch, hidden)."""

    h: Tensor
    c: Tensor

    def detached(self) -> "State":
        """The same numbers, cut from the graph."""
        return State(self.h.detach(), self.c.detach())

    def kept(self, keep: Tensor) -> "State":
        """The state with the batch rows where `keep` (batch,) is False set to zero."""
        mask = keep[None, :, None]
        return State(self.h * mask, self.c * mask)


class Layer(NamedTuple):
    """Weights of one LSTM layer, the gates along the first axis in the order i, f, g, o."""

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
        """Both biases together."""
        return self.input_bias + self.recurrent_bias


class MusicLSTM(nn.Module):
    """Predicts each token from the ones before it and from where in the bar it stands.

    The clock row of the token to be predicted is embedded feature by feature, and so is the grammar's state if the
    tokenizer says anything of it; the embeddings are added to that of the previous token. A tokenizer with voices
    brings registers too (`music.voicing`): each of their features has an embedding for every place in the step, and
    beside the usual output over the vocabulary there is one for each sounding voice that scores pitches by their
    interval from it. What is learned of a fourth above the bass then holds for every bass. The outputs see the inputs
    and every layer (skip connections, as in Graves, 2013).
    """

    def __init__(self, config: NetworkConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = tokenizer.vocabulary_size
        width = config.embedding
        clock, grammar = tokenizer.clock, tokenizer.grammar
        self.token = nn.Embedding(self.vocabulary, width)
        self.clock = nn.ModuleList(nn.Embedding(size, width) for size in clock.feature_sizes)
        self.grammar = nn.ModuleList(nn.Embedding(size, width) for size in grammar.feature_sizes)
        self.clock_features: Tensor
        self.grammar_features: Tensor
        self._constant("clock_features", clock.features)
        if grammar.features is not None:
            self._constant("grammar_features", grammar.features)
        widths = [width, *[config.hidden] * (config.layers - 1)]
        self.lstm = nn.ModuleList(nn.LSTM(width, config.hidden) for width in widths)
        seen = width + config.layers * config.hidden if config.skip else config.hidden
        self.output = nn.Linear(seen, self.vocabulary)
        self.voices: Voices | None = None
        if tokenizer.voicing is not None and (config.told or config.relative):
            self.voices = Voices(config, tokenizer.voicing, clock.features[:, 0], seen=seen)
        self._initialise()

    def _constant(self, name: str, values: NDArray[np.integer[Any]]) -> None:
        self.register_buffer(name, torch.as_tensor(values, dtype=torch.long), persistent=False)

    def _initialise(self) -> None:
        """Small embeddings, orthogonal recurrence, and forget gates open at first (Jozefowicz et al., 2015)."""
        for embedding in (self.token, *self.clock, *self.grammar):
            nn.init.normal_(embedding.weight, std=0.5)
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

    def clock_embedding(self, rows: Tensor) -> Tensor:
        """Sum of the embedded features of clock rows: (...,) int64 to (..., embedding)."""
        return _embedded(self.clock, self.clock_features[rows])

    def grammar_embedding(self, states: Tensor) -> Tensor:
        """Sum of the embedded features of the grammar's states: (...,) int64 to (..., embedding)."""
        return _embedded(self.grammar, self.grammar_features[states])

    def forward(
        self,
        previous: Tensor,
        clock_rows: Tensor,
        grammar_states: Tensor,
        registers: Tensor,
        profile: Tensor,
        state: State,
    ) -> tuple[Tensor, State]:
        """One pass over `time` steps.

        Args:
            previous: (time, batch) int64, the token before each one to predict.
            clock_rows: (time, batch) int64, the clock row of each one to predict.
            grammar_states: (time, batch) int64, the grammar's state before it.
            registers: (time, batch, registers) int64, what the voices sound before it.
            profile: (time, batch, decays, 12) float32, what pitch classes were heard before it. Neither is looked at
                where the network has no voices.
            state: the state before the first step.

        Returns:
            logits (time, batch, vocabulary) float32 and the state after the last step.
        """
        config = self.config
        values = self.embedding(previous, clock_rows, grammar_states, registers, profile)
        values = self._dropped(values, config.dropout_input)
        h, c = [], []
        outputs = [values]
        for index, layer in enumerate(self.lstm):
            if index:
                values = self._dropped(values, config.dropout_between)
            values, (last_h, last_c) = layer(values, (state.h[index : index + 1], state.c[index : index + 1]))
            h.append(last_h)
            c.append(last_c)
            outputs.append(values)
        values = self._dropped(torch.cat(outputs, -1) if config.skip else values, config.dropout_output)
        logits = self.output(values)
        if self.voices is not None:
            logits = logits + self.voices.scores(values, registers)
        return logits.float(), State(torch.cat(h), torch.cat(c))

    def embedding(
        self, previous: Tensor, clock_rows: Tensor, grammar_states: Tensor, registers: Tensor, profile: Tensor
    ) -> Tensor:
        """All that is known before each token, embedded and summed: (time, batch, embedding); see `forward`."""
        values: Tensor = self.token(previous) + self.clock_embedding(clock_rows)
        if self.grammar:
            values = values + self.grammar_embedding(grammar_states)
        if self.voices is not None:
            values = values + self.voices.embedding(registers, profile, clock_rows)
        return values

    @property
    def parameter_count(self) -> int:
        """Trained parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def _dropped(self, values: Tensor, probability: float) -> Tensor:
        return nn.functional.dropout(values, probability, self.training)


def _embedded(embeddings: nn.ModuleList, features: Tensor) -> Tensor:
    """Sum over the features (..., features) of what each embedding says of its own."""
    parts = [embedding(features[..., index]) for index, embedding in enumerate(embeddings)]
    return torch.stack(parts).sum(0)
