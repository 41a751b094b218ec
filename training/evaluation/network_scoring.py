"""Scores pieces with a network in PyTorch."""

from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from music.remaining_length import UNKNOWN
from music.tokenizers import Tokenizer
from training.evaluation.decode_scoring import TOKENS_AT_ONCE
from training.network.inputs import Inputs, model_inputs

_WINDOW: Final = 256


class ScoredNetwork(Protocol):
    """A network that reads pieces window by window, such as `training.network.model.MusicLSTM`."""

    def zero_state(self, batch: int) -> Any:
        """State before the first token."""

    def __call__(self, inputs: Inputs[torch.Tensor], state: Any) -> tuple[torch.Tensor, Any]:
        """Logits (time, batch, vocabulary) float32 of the inputs (time, batch, ...), and the state after them."""


class NetworkScorer:
    """A network in PyTorch, in float32. The logits of a bundle's network are those of its graphs but for rounding.

    A bundle whose network sees the notes so far has no scoring graph. Here they are known before the network runs, so
    this is several times as fast as its decode graphs.
    """

    tokens_at_once: Final = TOKENS_AT_ONCE

    def __init__(self, network: ScoredNetwork, tokenizer: Tokenizer, *, threads: int = 0) -> None:
        """Keep the network.

        Args:
            network: in evaluation mode.
            tokenizer: of the pieces.
            threads: CPU threads of one operation; 0 for PyTorch's own choice.
        """
        self._threads = threads
        self._network = network
        self._tokenizer = tokenizer

    def logits(
        self,
        tokens: Sequence[NDArray[np.integer[Any]]],
        first_positions: Sequence[int],
        remaining: Sequence[int] | None = None,
    ) -> list[NDArray[np.float32]]:
        """See `runtime.scorer.Scorer.logits`."""
        tokenizer, longest = self._tokenizer, max(map(len, tokens))
        lengths = [UNKNOWN] * len(tokens) if remaining is None else remaining
        tracker = tokenizer.note_tracker
        traces = [None] * len(tokens) if tracker is None else tracker.trace(tokens)
        pieces = [
            model_inputs(piece, first, tokenizer, remaining=length, notes=notes)
            for piece, first, length, notes in zip(tokens, first_positions, lengths, traces, strict=True)
        ]
        inputs = Inputs(*(_padded(parts, longest) for parts in zip(*pieces, strict=True)))
        parts = []
        threads = torch.get_num_threads()
        torch.set_num_threads(self._threads or threads)
        try:
            with torch.inference_mode():
                state = self._network.zero_state(len(tokens))
                for first in range(0, longest, _WINDOW):
                    window = Inputs(*(torch.from_numpy(array[first : first + _WINDOW]) for array in inputs))
                    logits, state = self._network(window, state)
                    parts.append(logits.numpy())
        finally:
            torch.set_num_threads(threads)
        return [_row(parts, row, len(piece)) for row, piece in enumerate(tokens)]


def _padded(parts: Sequence[NDArray[Any]], length: int) -> NDArray[Any]:
    """Arrays (n, ...) of any length side by side, (length, count, ...), with zeros after their ends."""
    together = np.zeros((length, len(parts), *parts[0].shape[1:]), parts[0].dtype)
    for row, part in enumerate(parts):
        together[: len(part), row] = part
    return together


def _row(parts: Sequence[NDArray[np.float32]], row: int, length: int) -> NDArray[np.float32]:
    """One row (length, vocabulary) of windows (time, rows, vocabulary)."""
    count = -(-length // _WINDOW)
    return np.concatenate([part[:, row] for part in parts[:count]])[:length]
