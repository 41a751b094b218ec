import shutil
from pathlib import Path

import pytest
import torch

from training.calibration import LOGIT_SCALES, calibrate, scale_logits
from training.config import load_config
from training.corpus.store import Corpus, Split
from training.loop.checkpoint import BEST, load_checkpoint, save_checkpoint
from training.loop.distributed import World
from training.loop.tbptt import EncodedPiece, encode_corpus
from training.network.inputs import model_inputs
from training.network.model import MusicLSTM
from training.run import Run, train

ALONE = World(torch.device("cpu"))


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Run:
    return Run.load(Path(shutil.copytree(small_run, tmp_path / "run")))


@pytest.fixture
def pieces(run: Run, small_corpus: Path) -> list[EncodedPiece]:
    return encode_corpus(Corpus.load(small_corpus), run.tokenizer, Split.VALID)[0]


def empty(run: Run) -> MusicLSTM:
    return MusicLSTM(run.config.network, run.tokenizer)


def logits(run: Run, piece: EncodedPiece) -> torch.Tensor:
    """(n, vocabulary), of the run's best network."""
    network = empty(run).eval()
    network.load_state_dict(load_checkpoint(run.folder / BEST)["model"])
    inputs = model_inputs(piece.tokens, piece.first_position, run.tokenizer)
    with torch.inference_mode():
        logits: torch.Tensor = network(
            inputs.map(lambda array: torch.from_numpy(array)[:, None]), network.zero_state(1)
        )[0]
    return logits[:, 0]


def nats(run: Run, pieces: list[EncodedPiece], factor: float = 1.0) -> float:
    return sum(
        float(
            torch.nn.functional.cross_entropy(
                logits(run, piece) * factor, torch.from_numpy(piece.tokens).long(), reduction="sum"
            )
        )
        for piece in pieces
    )


@pytest.mark.slow
def test_the_best_factor_is_multiplied_into_the_outputs(run: Run, pieces: list[EncodedPiece]) -> None:
    before = logits(run, pieces[0])
    losses = [nats(run, pieces, factor) for factor in LOGIT_SCALES]
    factor = calibrate(run.folder / BEST, empty(run), run.tokenizer, pieces, ALONE)
    assert factor == LOGIT_SCALES[losses.index(min(losses))]
    assert torch.allclose(logits(run, pieces[0]), before * factor, atol=1e-5)
    assert nats(run, pieces) == pytest.approx(min(losses), rel=1e-5)


def test_an_overconfident_network_gets_a_factor_below_one(run: Run, pieces: list[EncodedPiece]) -> None:
    path = run.folder / BEST
    right = calibrate(path, empty(run), run.tokenizer, pieces, ALONE)
    checkpoint = load_checkpoint(path)
    del checkpoint["sharpness"]
    save_checkpoint(path, checkpoint | {"model": scale_logits(checkpoint["model"], 1.25)})
    again = calibrate(path, empty(run), run.tokenizer, pieces, ALONE)
    assert LOGIT_SCALES[0] < right < LOGIT_SCALES[-1]
    assert again == pytest.approx(0.8, abs=0.021)


def test_a_calibrated_checkpoint_stays_unchanged(run: Run, pieces: list[EncodedPiece]) -> None:
    path = run.folder / BEST
    first = calibrate(path, empty(run), run.tokenizer, pieces, ALONE)
    stamp = path.stat().st_mtime_ns
    network = empty(run)
    assert calibrate(path, network, run.tokenizer, pieces, ALONE) == first
    assert path.stat().st_mtime_ns == stamp
    kept = load_checkpoint(path)["model"]
    assert all(torch.equal(weight, kept[name]) for name, weight in network.state_dict().items())


@pytest.mark.slow
def test_a_run_is_calibrated_at_its_end_even_if_it_ended_before(small_corpus: Path, tmp_path: Path) -> None:
    settings = {"tokenizer.parameters.voices": "2", "training.epochs": "2"}
    plain, folder = load_config("smoke", settings), tmp_path / "run"
    assert train(plain, small_corpus, folder, device="cpu", progress=False).logit_scale is None
    last = load_checkpoint(folder / BEST)["model"]
    calibrated = load_config("smoke", settings | {"training.calibrate": "true"})
    factor = train(calibrated, small_corpus, folder, device="cpu", progress=False).logit_scale
    assert factor in LOGIT_SCALES
    kept = load_checkpoint(folder / BEST)["model"]
    assert torch.equal(kept["output.weight"], last["output.weight"] * factor)
    assert torch.equal(kept["token.weight"], last["token.weight"])
    assert train(calibrated, small_corpus, folder, device="cpu", progress=False).logit_scale == factor
