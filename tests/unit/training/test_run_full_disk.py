import json
import resource
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from music.tokenizers import GridTokenizer
from tests.unit.training.full_disk import full_disk
from training.__main__ import main
from training.config import load_config
from training.corpus.store import Corpus
from training.errors import CheckpointError, CorpusError
from training.loop.checkpoint import BEST, LAST, load_checkpoint
from training.loop.distributed import World
from training.loop.history import HISTORY, EpochRecord, History, read_history
from training.loop.tbptt import EncodedPiece
from training.loop.trainer import Trainer
from training.run import Run

GRID = GridTokenizer(voices=2, lowest_pitch=48, highest_pitch=80)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no limit on the size of a file")


def fill_disk(file_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def make(folder: Path) -> Trainer:
    random = np.random.default_rng(1)
    lines = [np.array([*random.integers(4, 12, 40).tolist(), GRID.end_token], np.int32) for _ in range(12)]
    pieces = [EncodedPiece(str(index), line, 0, GRID.positions.start(None)) for index, line in enumerate(lines)]
    settings = {"tokenizer.parameters.voices": "2", "training.window": "16", "training.epochs": "4"}
    config = load_config("smoke", settings | {"training.patience": "4"})
    world = World(torch.device("cpu"))
    return Trainer(config, GRID, pieces[:9], pieces[9:], folder, world=world, progress=False)


@pytest.mark.slow
@pytest.mark.parametrize("file_bytes", [0, 10_000], ids=["nothing fits", "checkpoints do not fit"])
def test_the_last_checkpoint_survives_and_the_run_resumes_from_it(tmp_path: Path, file_bytes: int) -> None:
    make(tmp_path / "whole").run()
    run = tmp_path / "run"

    def after_epoch(epoch: int) -> None:
        if epoch == 3:
            good.update({name: (run / name).read_bytes() for name in (LAST, BEST)})
            fill_disk(file_bytes)

    good: dict[str, bytes] = {}
    trainer = make(run)
    with full_disk(2**40), pytest.raises(CheckpointError, match=r"cannot write .*The last checkpoint"):
        trainer.run(after_epoch)
    assert {name: (run / name).read_bytes() for name in (LAST, BEST)} == good
    assert load_checkpoint(run / LAST)["epoch"] == 2
    assert not list(run.glob("*.partial"))
    make(run).run()
    assert read_losses(run) == read_losses(tmp_path / "whole")
    whole, resumed = (load_checkpoint(folder / LAST)["model"] for folder in (tmp_path / "whole", run))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def read_losses(run: Path) -> list[float]:
    return [record.valid_loss for record in read_history(run / HISTORY)]


def record(epoch: int) -> EpochRecord:
    return EpochRecord(epoch, 0.5, 0.5, 0.5, 0.5, 1e-3, 1000.0, 1.0)


def test_a_history_that_cannot_be_written_is_an_error_and_is_repaired_later(tmp_path: Path) -> None:
    records = [record(epoch) for epoch in range(1, 8)]
    with History(tmp_path, records[:1]) as history:
        for item in records[1:6]:
            history.append(item)
        lines = (tmp_path / HISTORY).stat().st_size
        (events,) = (tmp_path / "tensorboard").iterdir()
        assert events.stat().st_size > lines + 100, "or the next limit would stop the lines too"
        with full_disk(lines + 100), pytest.raises(CheckpointError, match="File too large"):
            history.append(records[6])  # the line fits, the event does not
        with full_disk(lines), pytest.raises(CheckpointError, match="File too large"):
            history.append(records[6])
    with History(tmp_path, records):
        assert read_history(tmp_path / HISTORY) == records


def test_a_run_folder_that_cannot_be_written_is_refused(tmp_path: Path, small_run: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"cannot write .*run.* \(Not a directory\)"):
        make(tmp_path / "file" / "run")
    run = Run.load(small_run)
    with full_disk(), pytest.raises(CheckpointError, match=r"cannot write .*run\.json"):
        run.save()
    assert json.loads((small_run / "run.json").read_text())


def test_a_corpus_that_does_not_fit_leaves_the_old_one(small_corpus: Path, tmp_path: Path) -> None:
    corpus, path = Corpus.load(small_corpus), tmp_path / "corpus.npz"
    corpus.save(path)
    before = path.read_bytes()
    with full_disk(100), pytest.raises(CorpusError, match=r"cannot write .*corpus\.npz: File too large"):
        corpus.save(path)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["corpus.npz"]


def test_a_bundle_that_does_not_fit_leaves_nothing(small_run: Path, tmp_path: Path) -> None:
    with full_disk(10_000):
        result = CliRunner().invoke(main, ["export", str(small_run), "--out", str(tmp_path / "models" / "mine")])
    assert result.exit_code == 1
    assert "File too large" in result.output
    assert len(result.output.splitlines()) == 1
    assert not list((tmp_path / "models").iterdir())
