"""Sampled pieces that a training writes on its way."""

from pathlib import Path

import pytest
import torch

from music.midi import read_midi
from music.score import TICKS_PER_QUARTER
from music.tokenizers import tokenizer_class
from training import previews as previews_module
from training.config import Config, load_config
from training.corpus.store import Corpus
from training.loop.checkpoint import BEST, LAST, load_checkpoint
from training.network.model import MusicLSTM
from training.previews import PREVIEWS, Previews
from training.run import Run, train

CHANGES = {"tokenizer.parameters.voices": "2", "training.epochs": "2", "training.ema_decay": "0.9"}


def config() -> Config:
    return load_config("smoke", CHANGES)


@pytest.mark.slow
def test_previews_are_written_and_change_nothing_in_the_training(
    small_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(previews_module, "INTERVAL_SECONDS", 0.0)
    for name, previews in (("shown", True), ("plain", False)):
        train(
            config(), small_corpus, tmp_path / name, device="cpu", progress=False, report=lines.append,
            previews=previews,
        )  # fmt: skip
    for file in (LAST, BEST):
        shown, plain = (load_checkpoint(tmp_path / name / file)["model"] for name in ("shown", "plain"))
        assert all(torch.equal(shown[key], plain[key]) for key in plain)
    folder = tmp_path / "shown" / PREVIEWS
    assert sorted(path.name for path in folder.iterdir()) == [
        "epoch-001.mid", "epoch-001.png", "epoch-002.mid", "epoch-002.png",
    ]  # fmt: skip
    score = read_midi((folder / "epoch-002.mid").read_bytes())
    assert score.notes
    assert score.length_ticks <= 8 * 4 * TICKS_PER_QUARTER
    assert (folder / "epoch-001.png").read_bytes().startswith(b"\x89PNG")
    assert f"preview after epoch 2: {folder / 'epoch-002.mid'}" in lines
    assert not (tmp_path / "plain" / PREVIEWS).exists()


def make(small_run: Path, folder: Path, report: list[str], interval: float) -> tuple[Previews, MusicLSTM]:
    run = Run.load(small_run)
    previews = Previews(folder, run.config, run.tokenizer, report=report.append, interval_seconds=interval)
    return previews, MusicLSTM(run.config.network, run.tokenizer)


def test_a_quick_epoch_has_no_preview(small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, written = 100.0, list[int]()
    monkeypatch.setattr("training.previews.time.monotonic", lambda: now)
    monkeypatch.setattr(Previews, "_write", lambda self, epoch, model: written.append(epoch))
    previews, model = make(small_run, tmp_path, [], 60.0)
    for epoch in range(1, 11):
        now += 25.0
        previews.after_epoch(epoch, model)
    assert written == [3, 6, 9]


def test_a_failure_is_reported_once_and_ends_the_previews(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    report: list[str] = []
    previews, model = make(small_run, tmp_path, report, 0.0)
    monkeypatch.setattr(previews_module, "replace_file", full)
    before = torch.get_rng_state()
    for epoch in (1, 2):
        previews.after_epoch(epoch, model.train())
    (line,) = report
    assert "no preview after epoch 1, and none after later ones: [Errno 28] No space left on device" in line
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert list((tmp_path / PREVIEWS).iterdir()) == [], "the draft is removed"


def test_a_piece_of_events_is_previewed(small_corpus: Path, tmp_path: Path) -> None:
    changes = {"network.hidden": "16", "network.embedding": "8", "tokenizer.parameters.bar_tokens": "64"}
    settings = load_config("piano", changes)
    scores = [piece.score for piece in Corpus.load(small_corpus).pieces()]
    tokenizer = tokenizer_class("events").fit(settings.tokenizer.parameters, scores)
    report: list[str] = []
    previews = Previews(tmp_path, settings, tokenizer, report=report.append, interval_seconds=0.0)
    previews.after_epoch(7, MusicLSTM(settings.network, tokenizer))
    assert report == [f"preview after epoch 7: {tmp_path / PREVIEWS / 'epoch-007.mid'}"]
    score = read_midi((tmp_path / PREVIEWS / "epoch-007.mid").read_bytes())
    assert score.meter == tokenizer.positions.meters[0]
    assert score.tempo_bpm == pytest.approx(settings.bundle.tempo_bpm, rel=0.1)
