"""The remaining length in the decode graphs: the temperature of the last bar."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from music.graph_names import NEXT
from music.remaining_length import UNKNOWN
from music.score import Meter
from music.tokenizers import EventsTokenizer, GridTokenizer, Tokenizer
from training.config import NetworkConfig
from training.graphs import Weights, decode_graph
from training.network.model import MusicLSTM

GRID = GridTokenizer(voices=2, lowest_pitch=60, highest_pitch=72, meters=(Meter(2, 4),))
EVENTS = EventsTokenizer(lowest_pitch=60, highest_pitch=72, positions_per_quarter=2, bar_tokens=64)
PIECES = {"grid": (GRID, 3 * 16), "events": (EVENTS, 3)}
"""Each tokenizer, and three bars in its unit of length."""
ROWS, TOKENS = 64, 48


class Decoder:
    """Samples with the decode graph of a network with random weights."""

    def __init__(self, tokenizer: Tokenizer, folder: Path, *, steps: int, closing_temperature: float) -> None:
        torch.manual_seed(0)
        sizes = {
            "layers": 1,
            "hidden": 16,
            "embedding": 8,
            "dropout_input": 0,
            "dropout_between": 0,
            "dropout_output": 0,
        }
        plain = {"voice_features": (), "interval_output": False, "note_features": ()}
        config = NetworkConfig.model_validate(sizes | plain | {"length_input": True})
        weights = Weights(MusicLSTM(config, tokenizer).eval(), tokenizer)
        graph = decode_graph(weights, steps, closing_temperature=closing_temperature)
        folder.mkdir()
        weights.save(folder)
        (folder / "decode.onnx").write_bytes(graph.SerializeToString())
        self._session = onnxruntime.InferenceSession(folder / "decode.onnx", providers=["CPUExecutionProvider"])
        self._tokenizer, self._config, self._steps = tokenizer, config, steps

    def sample(self, remaining: int, temperature: float) -> NDArray[np.int64]:
        """Tokens (rows, TOKENS) of pieces with a remaining length."""
        tokenizer, config = self._tokenizer, self._config
        state: dict[str, Any] = {
            **{name: np.zeros((config.layers, ROWS, config.hidden), np.float32) for name in ("h", "c")},
            "clock": np.full(ROWS, tokenizer.positions.start(tokenizer.positions.meters[0])),
            "grammar": np.full(ROWS, tokenizer.grammar.joint_start),
            "token": np.full(ROWS, tokenizer.start_token, np.int64),
            "remaining": np.full(ROWS, remaining, np.int64),
        }
        uniforms = np.random.default_rng(1).random((ROWS, TOKENS), np.float32)
        settings = {
            "temperature": np.full(ROWS, temperature, np.float32),
            "top_p": np.ones(ROWS, np.float32),
            "top_k": np.zeros(ROWS, np.int64),
            "bias": np.zeros((1, tokenizer.vocabulary_size), np.float32),
            "bias_index": np.zeros((ROWS, self._steps), np.int64),
            "forced": np.full((ROWS, self._steps), -1, np.int64),
        }
        found = []
        for first in range(0, TOKENS, self._steps):
            part = uniforms[:, first : first + self._steps]
            names = ("tokens", *(name + NEXT for name in state))
            tokens, *after = self._session.run(names, {**state, **settings, "uniforms": part})
            found.append(tokens)
            state = dict(zip(state, after, strict=True))
        return np.concatenate(found, axis=1)


@pytest.mark.parametrize("steps", [1, 8])
@pytest.mark.parametrize("name", PIECES)
def test_the_last_bar_of_a_known_length_is_sampled_at_the_closing_temperature(
    name: str, steps: int, tmp_path: Path
) -> None:
    tokenizer, length = PIECES[name]
    closing = Decoder(tokenizer, tmp_path / "closing", steps=steps, closing_temperature=0.25)
    plain = Decoder(tokenizer, tmp_path / "plain", steps=steps, closing_temperature=1.0)
    found, usual = closing.sample(length, 0.8), plain.sample(length, 0.8)
    cold = plain.sample(length // 3, 0.2)
    unit = tokenizer.remaining_length.unit_token
    left = length - np.cumsum(np.ones_like(usual) if unit is None else usual == unit, axis=1)
    before_last_bar = np.hstack([np.ones((ROWS, 1), bool), left[:, :-1] > length // 3])
    assert (found[before_last_bar] == usual[before_last_bar]).all()
    if unit is None:
        assert (found[~before_last_bar] != usual[~before_last_bar]).any()
    assert (closing.sample(length // 3, 0.8)[:, :16] == cold[:, :16]).all()
    assert (cold[:, :16] != usual[:, :16]).any()


@pytest.mark.parametrize("name", PIECES)
def test_an_unknown_length_has_no_last_bar(name: str, tmp_path: Path) -> None:
    tokenizer, _ = PIECES[name]
    closing = Decoder(tokenizer, tmp_path / "closing", steps=8, closing_temperature=0.25)
    plain = Decoder(tokenizer, tmp_path / "plain", steps=8, closing_temperature=1.0)
    assert (closing.sample(UNKNOWN, 0.8) == plain.sample(UNKNOWN, 0.8)).all()
