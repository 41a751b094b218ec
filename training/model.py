"""The network: token and clock embeddings into an LSTM, and a linear layer to the vocabulary."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from music.tokenizers import Tokenizer
from training.config import NetworkConfig


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


class MusicLSTM(nn.Module):
    """Predicts each token from the ones before it and from where in the bar it stands.

    The clock row of the token to be predicted is embedded feature by feature; the embeddings are added to
    that of the previous token.
    """

    def __init__(
        self,
        config: NetworkConfig,
        vocabulary: int,
        clock_features: NDArray[np.integer[Any]],
        feature_sizes: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary
        self.token = nn.Embedding(vocabulary, config.embedding)
        self.clock = nn.ModuleList(nn.Embedding(size, config.embedding) for size in feature_sizes)
        self.clock_features: Tensor
        self.register_buffer("clock_features", torch.as_tensor(clock_features, dtype=torch.long), persistent=False)
        self.dropout_input = nn.Dropout(config.dropout_input)
        between = config.dropout_between if config.layers > 1 else 0.0
        self.lstm = nn.LSTM(config.embedding, config.hidden, config.layers, dropout=between)
        self.dropout_output = nn.Dropout(config.dropout_output)
        self.output = nn.Linear(config.hidden, vocabulary)
        self._initialise()

    @classmethod
    def for_tokenizer(cls, config: NetworkConfig, tokenizer: Tokenizer) -> "MusicLSTM":
        """A fresh network for a tokenizer's vocabulary and clock."""
        clock = tokenizer.clock
        return cls(config, tokenizer.vocabulary_size, clock.features, clock.feature_sizes)

    def _initialise(self) -> None:
        """Small embeddings, orthogonal recurrence, and forget gates open at first (Jozefowicz et al., 2015)."""
        for embedding in (self.token, *self.clock):
            nn.init.normal_(embedding.weight, std=0.5)
        for layer in range(self.config.layers):
            recurrent = getattr(self.lstm, f"weight_hh_l{layer}")
            for gate in recurrent.chunk(4):
                nn.init.orthogonal_(gate)
            nn.init.xavier_uniform_(getattr(self.lstm, f"weight_ih_l{layer}"))
            for kind in ("ih", "hh"):
                nn.init.zeros_(getattr(self.lstm, f"bias_{kind}_l{layer}"))
            hidden = self.config.hidden
            nn.init.ones_(getattr(self.lstm, f"bias_ih_l{layer}")[hidden : 2 * hidden])
        nn.init.xavier_uniform_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def zero_state(self, batch: int) -> State:
        """State before the first token."""
        shape = (self.config.layers, batch, self.config.hidden)
        zeros = self.output.weight.new_zeros(shape)
        return State(zeros, zeros)

    def clock_embedding(self, rows: Tensor) -> Tensor:
        """Sum of the embedded features of clock rows: (...,) int64 to (..., embedding)."""
        features = self.clock_features[rows]
        parts = [embedding(features[..., index]) for index, embedding in enumerate(self.clock)]
        return torch.stack(parts).sum(0)

    def forward(self, previous: Tensor, clock_rows: Tensor, state: State) -> tuple[Tensor, State]:
        """One pass over `time` steps.

        Args:
            previous: (time, batch) int64, the token before each one to predict.
            clock_rows: (time, batch) int64, the clock row of each one to predict.
            state: the state before the first step.

        Returns:
            logits (time, batch, vocabulary) float32 and the state after the last step.
        """
        inputs = self.dropout_input(self.token(previous) + self.clock_embedding(clock_rows))
        outputs, (h, c) = self.lstm(inputs, (state.h, state.c))
        return self.output(self.dropout_output(outputs)).float(), State(h, c)

    @property
    def parameter_count(self) -> int:
        """Trained parameters."""
        return sum(parameter.numel() for parameter in self.parameters())
