from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from music.graph_names import NEXT, NOTE_PROFILE, NOTE_STATE
from music.tokenizers import EventsTokenizer
from runtime.precision import Precision
from tests.unit.music.tokenizers.test_note_tracker import TOKENIZERS, random_piece
from training.config import NetworkConfig
from training.graphs import Weights, decode_graph
from training.graphs.weights import WEIGHTS
from training.network.inputs import model_inputs
from training.network.model import MusicLSTM

STEPS = 4
ONE_VOICE = EventsTokenizer(lowest_pitch=40, highest_pitch=61, voices=1, positions_per_quarter=4, velocity_bins=4)
"""Its sets of keys fill two words exactly."""
GROUPS = ("chord", "past", "sounding", "profile", "intervals", "durations", "match")


def network(tokenizer: EventsTokenizer, features: tuple[str, ...], *, intervals: bool = True) -> MusicLSTM:
    """A network whose outputs of the past weigh as much as the others."""
    torch.manual_seed(0)
    sizes = {"layers": 1, "hidden": 16, "embedding": 8, "dropout_input": 0, "dropout_between": 0, "dropout_output": 0}
    config = NetworkConfig.model_validate(sizes | {"note_features": features, "interval_output": intervals})
    model = MusicLSTM(config, tokenizer).eval()
    assert model.notes is not None
    with torch.no_grad():
        for layer in (model.notes.intervals, model.notes.weights, model.notes.suggestions, model.notes.trust):
            for parameter in layer.parameters():
                parameter.normal_(std=0.3)
    return model


class Decoder:
    """The decode graph of a network, with its logits as outputs."""

    def __init__(
        self,
        model: MusicLSTM,
        tokenizer: EventsTokenizer,
        folder: Path,
        precision: Precision,
        steps: int = STEPS,
    ) -> None:
        scale = np.full(model.config.embedding, 8.0, np.float32)
        weights = Weights(model, tokenizer, scale)
        graph = decode_graph(weights, steps, precision)
        weights.save(folder)
        self._steps = steps
        self._names = [f"logits_{step}" for step in range(steps)]
        shape = ("batch", tokenizer.vocabulary_size)
        graph.graph.output.extend(onnx.helper.make_tensor_value_info(name, 1, shape) for name in self._names)
        path = folder / "decode.onnx"
        path.write_bytes(graph.SerializeToString())
        onnx.checker.check_model(path, full_check=True)
        assert (folder / WEIGHTS).exists()
        self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self._model, self._tokenizer = model, tokenizer
        self.state: dict[str, Any] = {}
        """After the last pieces."""

    def logits(self, pieces: NDArray[np.int32]) -> NDArray[np.float32]:
        """Of pieces (rows, n), n a multiple of the steps: (rows, n, vocabulary)."""
        rows, config, tokenizer = len(pieces), self._model.config, self._tokenizer
        tracker = tokenizer.note_tracker
        assert tracker is not None
        state: dict[str, Any] = {
            **{name: np.zeros((config.layers, rows, config.hidden), np.float32) for name in ("h", "c")},
            "clock": np.zeros(rows, np.int64),
            "grammar": np.full(rows, tokenizer.grammar.joint_start),
            "token": np.full(rows, tokenizer.start_token, np.int64),
            NOTE_STATE: np.repeat(tracker.initial_row[None], rows, 0),
            NOTE_PROFILE: np.repeat(tracker.initial_profile[None], rows, 0),
        }
        settings = {
            "uniforms": np.full((rows, self._steps), 0.5, np.float32),
            "temperature": np.ones(rows, np.float32),
            "top_p": np.ones(rows, np.float32),
            "top_k": np.zeros(rows, np.int64),
            "bias": np.zeros((1, tokenizer.vocabulary_size), np.float32),
            "bias_index": np.zeros((rows, self._steps), np.int64),
        }
        found = []
        for first in range(0, pieces.shape[1], self._steps):
            forced = pieces[:, first : first + self._steps].astype(np.int64)
            names = (*self._names, *(name + NEXT for name in state))
            results = self._session.run(names, {**state, **settings, "forced": forced})
            found += results[: self._steps]
            state = dict(zip(state, results[self._steps :], strict=True))
        self.state = state
        return np.stack(found, 1)


@pytest.mark.parametrize(
    ("name", "without"),
    [*((name, None) for name in (*TOKENIZERS, "solo")), *(("piano", group) for group in (*GROUPS, "interval outputs"))],
)
def test_the_graph_gives_the_logits_of_pytorch(name: str, without: str | None, tmp_path: Path) -> None:
    tokenizer = ONE_VOICE if name == "solo" else TOKENIZERS[name]
    groups = tuple(group for group in GROUPS if group != without)
    model = network(tokenizer, groups, intervals=without != "interval outputs")
    pieces = np.stack([random_piece(tokenizer, seed, 160) for seed in (7, 8)])
    decoder = Decoder(model, tokenizer, tmp_path, "float32")
    found = decoder.logits(pieces)
    tracker = tokenizer.note_tracker
    assert tracker is not None
    for row, piece in enumerate(pieces):
        np.testing.assert_array_equal(decoder.state[NOTE_STATE][row], tracker.row_after(piece))
        inputs = model_inputs(piece, 0, tokenizer).map(
            lambda array: torch.from_numpy(np.ascontiguousarray(array))[:, None]
        )
        with torch.inference_mode():
            expected, _ = model(inputs, model.zero_state(1))
        np.testing.assert_allclose(found[row], expected[:, 0].numpy(), atol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_row_depends_neither_on_the_others_nor_on_the_division_into_chunks(
    precision: Precision, tmp_path: Path
) -> None:
    tokenizer = TOKENIZERS["piano"]
    model = network(tokenizer, GROUPS)
    decoder = Decoder(model, tokenizer, tmp_path, precision)
    pieces = np.stack([random_piece(tokenizer, seed, 80) for seed in range(9)])
    together = decoder.logits(pieces)
    for row in (0, 4, 8):
        np.testing.assert_array_equal(decoder.logits(pieces[row : row + 1])[0], together[row])
    np.testing.assert_array_equal(Decoder(model, tokenizer, tmp_path, precision, steps=1).logits(pieces), together)


def test_every_group_of_features_matters(tmp_path: Path) -> None:
    tokenizer = TOKENIZERS["piano"]
    piece = random_piece(tokenizer, 3, 160)
    inputs = model_inputs(piece, 0, tokenizer).map(lambda array: torch.from_numpy(np.ascontiguousarray(array))[:, None])

    def logits(features: tuple[str, ...]) -> torch.Tensor:
        model = network(tokenizer, features)
        with torch.inference_mode():
            found: torch.Tensor = model(inputs, model.zero_state(1))[0]
        return found

    whole = logits(GROUPS)
    for group in GROUPS:
        assert (logits(tuple(each for each in GROUPS if each != group)) - whole).abs().max() > 0.01, group
