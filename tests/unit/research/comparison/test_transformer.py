"""The Transformer of the comparison."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from research.comparison import transformer
from research.comparison.budget import without_notes
from research.comparison.transformer import MusicTransformer
from tests.unit.music.tokenizers.test_note_tracker import TOKENIZERS, random_piece
from training.config import NetworkConfig
from training.network.inputs import Inputs, model_inputs

TOKENIZER = without_notes(TOKENIZERS["piano"])
LENGTH = 48


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> MusicTransformer:
    monkeypatch.setattr(transformer, "MEMORY", 16)
    torch.manual_seed(0)
    config = NetworkConfig(
        layers=2, hidden=64, embedding=4, dropout_input=0, dropout_between=0, dropout_output=0, note_features=()
    )
    model = MusicTransformer(config, TOKENIZER).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)  # so that far tokens matter
    return model


def inputs_of(piece: NDArray[np.int32]) -> Inputs[Tensor]:
    return model_inputs(piece, 0, TOKENIZER).map(lambda array: torch.from_numpy(np.ascontiguousarray(array))[:, None])


def logits(network: MusicTransformer, piece: NDArray[np.int32], window: int, state: Any = None) -> Tensor:
    inputs = inputs_of(piece)
    state = network.zero_state(1) if state is None else state
    parts = []
    with torch.inference_mode():
        for first in range(0, len(piece), window):
            part, state = network(Inputs(*(tensor[first : first + window] for tensor in inputs)), state)
            parts.append(part)
    return torch.cat(parts)


def test_a_token_depends_on_the_tokens_before_it_only(network: MusicTransformer) -> None:
    piece = random_piece(TOKENIZERS["piano"], 1, LENGTH)
    whole = logits(network, piece, LENGTH)
    shorter = logits(network, piece[:20], LENGTH)
    torch.testing.assert_close(whole[:20], shorter, rtol=1e-4, atol=1e-4)


def test_the_memory_carries_the_tokens_of_earlier_windows(network: MusicTransformer) -> None:
    """Up to the length of the memory, the division into windows does not matter; beyond it, it does."""
    piece = random_piece(TOKENIZERS["piano"], 2, LENGTH)
    whole, windows = logits(network, piece, LENGTH), logits(network, piece, 8)
    torch.testing.assert_close(windows[:24], whole[:24], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(windows[40:], whole[40:], rtol=1e-4, atol=1e-4)


def test_a_row_that_is_reset_starts_a_new_piece(network: MusicTransformer) -> None:
    first, second = (random_piece(TOKENIZERS["piano"], seed, 8) for seed in (3, 4))
    with torch.inference_mode():
        _, state = network(inputs_of(first), network.zero_state(1))
    kept = logits(network, second, 8, state.zero_rows(torch.tensor([False])))
    reset = logits(network, second, 8, state.zero_rows(torch.tensor([True])))
    torch.testing.assert_close(reset, logits(network, second, 8), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(kept, reset, rtol=1e-4, atol=1e-4)


def test_attention_is_relative(network: MusicTransformer) -> None:
    """An empty memory of any length before a piece changes nothing, though its tokens then stand at later places."""
    piece = random_piece(TOKENIZERS["piano"], 5, 12)
    whole = logits(network, piece, 12)
    single = logits(network, piece, 1)
    torch.testing.assert_close(single, whole, rtol=1e-4, atol=1e-4)


def test_a_window_gives_gradients_to_all_parameters(network: MusicTransformer) -> None:
    piece = random_piece(TOKENIZERS["piano"], 6, 32)
    result, state = network(inputs_of(piece), network.zero_state(1))
    result.logsumexp(-1).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert not state.keys.requires_grad
