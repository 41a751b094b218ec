import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from music.tokenizers import GridTokenizer
from tests.unit.training.signals import signalled_at
from training.config import Config, load_config
from training.errors import CheckpointError, DivergenceError, StoppedError
from training.loop import trainer as trainer_module
from training.loop.checkpoint import BEST, LAST, load_checkpoint, save_checkpoint
from training.loop.distributed import World
from training.loop.history import HISTORY, read_history
from training.loop.tbptt import EncodedPiece
from training.loop.trainer import Trainer
from training.run import Run, train

pytestmark = pytest.mark.slow  # each test trains

ALONE = World(torch.device("cpu"))
GRID = GridTokenizer(voices=2, lowest_pitch=48, highest_pitch=80)


def pieces(count: int, seed: int) -> list[EncodedPiece]:
    random = np.random.default_rng(seed)
    tokens = [np.array([*random.integers(4, 12, 40).tolist(), GRID.end_token], np.int32) for _ in range(count)]
    return [EncodedPiece(str(index), line, 0, GRID.positions.start(None)) for index, line in enumerate(tokens)]


def config(**changes: object) -> Config:
    overrides = {f"training.{name}": str(value) for name, value in changes.items()}
    return load_config("smoke", {"tokenizer.parameters.voices": "2", "training.window": "16"} | overrides)


def make(folder: Path, settings: Config) -> Trainer:
    return Trainer(settings, GRID, pieces(12, 1), pieces(4, 2), folder, world=ALONE, progress=False)


class KilledError(Exception):
    """Stands for the signal."""


def kill_after(monkeypatch: pytest.MonkeyPatch, saves: int) -> None:
    """The process dies while it writes its last checkpoint for the `saves`-th time."""
    save, count = save_checkpoint, 0

    def dying(path: Path, checkpoint: dict[str, object]) -> None:
        nonlocal count
        count += path.name == LAST
        if count == saves:
            path.with_name(path.name + ".partial").write_bytes(b"half")
            raise KilledError
        save(path, checkpoint)

    monkeypatch.setattr(trainer_module, "save_checkpoint", dying)


@pytest.mark.parametrize("saves", [1, 2, 4])
def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saves: int
) -> None:
    settings = config(epochs=4, patience=4)
    best = make(tmp_path / "whole", settings).run()
    with monkeypatch.context() as patch:
        kill_after(patch, saves)
        with pytest.raises(KilledError):
            make(tmp_path / "killed", settings).run()
    assert make(tmp_path / "killed", settings).run().valid_loss == best.valid_loss
    same_run(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize("saves", [2, 5, 9, 10, 15])  # nine windows an epoch, and a tenth checkpoint at its end
def test_a_run_killed_within_an_epoch_resumes_bit_by_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saves: int
) -> None:
    settings = config(epochs=2, patience=2, ema_decay=0.9)
    make(tmp_path / "whole", settings).run()
    monkeypatch.setattr(trainer_module, "SAVE_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        kill_after(patch, saves)
        with pytest.raises(KilledError):
            make(tmp_path / "killed", settings).run()
    last = load_checkpoint(tmp_path / "killed" / LAST)
    windows = 0 if last["partial"] is None else last["partial"]["windows"]
    assert 10 * last["epoch"] + windows == saves - 1
    make(tmp_path / "killed", settings).run()
    same_run(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("window", [1, 7, 9, 11], ids=["first", "middle", "last", "in validation"])
def test_a_signal_saves_a_checkpoint_and_the_run_resumes_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, window: int
) -> None:
    settings = config(epochs=2, patience=2)
    make(tmp_path / "whole", settings).run()
    handlers = [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patch:
        signalled_at(patch, window, number)
        with pytest.raises(StoppedError, match=r"stopped in epoch 1 of 2, after (11|78|100)% of it") as stopped:
            make(tmp_path / "stopped", settings).run()
    assert stopped.value.signal == number
    assert [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert load_checkpoint(tmp_path / "stopped" / LAST)["partial"]["windows"] == min(window, 9)
    make(tmp_path / "stopped", settings).run()
    same_run(tmp_path / "whole", tmp_path / "stopped")


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signalled_at(monkeypatch, 2, signal.SIGINT, times=2)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, config(epochs=2)).run()
    assert not (tmp_path / LAST).exists()


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_module, "SAVE_SECONDS", 0.0)
    trainer = make(tmp_path, config())
    with torch.no_grad():
        trainer.model.output.bias[0] = float("nan")
    with pytest.raises(DivergenceError, match="the training loss is not finite; lower the learning rate"):
        trainer.run()
    assert not (tmp_path / LAST).exists()


def same_run(one: Path, other: Path) -> None:
    """Two folders hold the same weights, bit by bit, and the same history."""
    for name in (LAST, BEST):
        ours, theirs = (load_checkpoint(run / name)["model"] for run in (one, other))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    histories = [read_history(run / HISTORY) for run in (one, other)]
    for name in ("epoch", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "learning_rate"):
        ours, theirs = ([getattr(record, name) for record in history] for history in histories)
        assert ours == theirs


def test_the_weight_average_is_validated_saved_and_resumed(tmp_path: Path) -> None:
    settings = config(epochs=1, patience=1, ema_decay=0.9)
    trainer = make(tmp_path, settings)
    best = trainer.run()
    latest, averaged = trainer.model.state_dict(), trainer.averaged_model.state_dict()
    assert not any(torch.equal(latest[key], averaged[key]) for key in latest)
    assert trainer.evaluate(pieces(4, 2)).loss == best.valid_loss
    kept = load_checkpoint(tmp_path / BEST)["model"]
    assert all(torch.equal(kept[key], averaged[key]) for key in averaged)

    resumed = make(tmp_path, settings)
    assert resumed.run() == best
    assert all(torch.equal(resumed.averaged_model.state_dict()[key], averaged[key]) for key in averaged)
    assert all(torch.equal(resumed.model.state_dict()[key], latest[key]) for key in latest)


def test_training_learns(tmp_path: Path) -> None:
    settings = config(epochs=8, patience=8)
    trainer = Trainer(settings, GRID, pieces(64, 1), pieces(4, 2), tmp_path, world=ALONE, progress=False)
    before = trainer.evaluate(pieces(4, 2))
    trainer.run()
    after = trainer.evaluate(pieces(4, 2))
    assert before.loss > np.log(30)  # about uniform over the vocabulary of 37
    assert after.loss < np.log(30) * 0.75  # eight tokens come, each as likely as the others: log(8) is the floor
    assert after.loss > np.log(8) * 0.98
    assert 0 <= after.accuracy <= 1
    assert after.tokens == after.note_steps + 4


def test_patience_ends_a_run_without_progress_and_the_best_weights_stay(tmp_path: Path) -> None:
    trainer = make(tmp_path, config(epochs=60, patience=2, learning_rate=0.05))
    best = trainer.run()
    records = read_history(tmp_path / HISTORY)
    assert len(records) == best.epoch + 2 < 60
    assert best.valid_loss == min(record.valid_loss for record in records)
    assert load_checkpoint(tmp_path / BEST)["epoch"] == best.epoch


def test_a_finished_run_does_nothing_more(tmp_path: Path) -> None:
    settings = config(epochs=2)
    best = make(tmp_path, settings).run()
    stamp = (tmp_path / LAST).stat().st_mtime_ns
    assert make(tmp_path, settings).run() == best
    assert (tmp_path / LAST).stat().st_mtime_ns == stamp


def test_tensorboard_and_csv_have_loss_and_accuracy_of_both_splits(tmp_path: Path) -> None:
    make(tmp_path, config(epochs=2)).run()
    header = (tmp_path / HISTORY).read_text().splitlines()[0].split(",")
    assert header[:5] == ["epoch", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy"]
    events = b"".join(path.read_bytes() for path in (tmp_path / "tensorboard").iterdir())
    for tag in (b"train/loss", b"train/accuracy", b"valid/loss", b"valid/accuracy"):
        assert tag in events


def test_the_output_shows_both_losses_speed_and_remaining_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Trainer(config(epochs=2), GRID, pieces(12, 1), pieces(4, 2), tmp_path, world=ALONE).run()
    lines = [line for line in capsys.readouterr().err.splitlines() if "tokens/s" in line]
    assert [line.split(":")[0].split()[-1] for line in lines] == ["1/2", "2/2"]
    assert "train " in lines[0]
    assert "valid " in lines[0]
    assert "at most 0:00:00 left" in lines[1]


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_run_resumes_without_its_history(tmp_path: Path, damage: str) -> None:
    make(tmp_path / "whole", config(epochs=3)).run()
    shutil.copytree(tmp_path / "whole", tmp_path / "run")
    history = tmp_path / "run" / HISTORY
    text = history.read_text()
    history.unlink() if damage == "gone" else history.write_text(text[: len(text) // 2])
    make(tmp_path / "run", config(epochs=3)).run()
    assert history.read_text() == text


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    trainer = make(tmp_path, config(epochs=3))
    with torch.no_grad():
        trainer.model.output.bias[0] = float("nan")
    with pytest.raises(DivergenceError, match="lower the learning rate"):
        trainer.run()
    assert not (tmp_path / LAST).exists()


def test_another_run_is_not_resumed_and_the_message_names_the_difference(tmp_path: Path) -> None:
    make(tmp_path, config(epochs=1)).run()
    with pytest.raises(CheckpointError, match=r"another configuration \(training.batch_size was 4, is 3\)"):
        make(tmp_path, config(epochs=1, batch_size=3))
    with pytest.raises(CheckpointError, match=r"training.transpose was \[-2, 2\], is \[0, 0\]"):
        make(tmp_path, config(epochs=1, transpose=[0, 0]))
    with pytest.raises(CheckpointError, match="was started with another corpus; choose another --run"):
        Trainer(config(epochs=1), GRID, pieces(12, 5), pieces(4, 2), tmp_path, world=ALONE)
    checkpoint = load_checkpoint(tmp_path / LAST)
    save_checkpoint(tmp_path / LAST, checkpoint | {"identity": "as an earlier version wrote it"})
    with pytest.raises(CheckpointError, match="was started by another version of Fantasia"):
        make(tmp_path, config(epochs=1))


def test_epochs_and_patience_may_be_raised_when_a_run_is_resumed(tmp_path: Path) -> None:
    constant = {"schedule": '"constant"', "learning_rate": 0.05}  # so that the rate does not depend on the epochs
    make(tmp_path / "whole", config(epochs=4, patience=4, **constant)).run()
    make(tmp_path / "raised", config(epochs=1, patience=1, **constant)).run()
    assert len(read_history(tmp_path / "raised" / HISTORY)) == 1
    make(tmp_path / "raised", config(epochs=4, patience=4, **constant)).run()
    same_run(tmp_path / "whole", tmp_path / "raised")


def test_a_disk_without_room_for_checkpoints_is_refused_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1000))
    with pytest.raises(CheckpointError, match=r"0 MB are free, and the checkpoints of this network take about \d MB"):
        make(tmp_path, config())


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    make(tmp_path, config(epochs=1)).run()
    (tmp_path / LAST).write_bytes(b"half a checkpoint")
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        make(tmp_path, config(epochs=1))


def test_a_run_folder_has_tokenizer_and_corpus(small_run: Path, small_corpus: Path, tmp_path: Path) -> None:
    run = Run.load(small_run)
    assert run.tokenizer.name == "grid"
    assert run.corpus_path == small_corpus
    with pytest.raises(CheckpointError, match="is not a run"):
        Run.load(tmp_path)
    copy = Path(shutil.copytree(small_run, tmp_path / "copy"))
    (copy / BEST).unlink()
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_checkpoint(copy / BEST)


def test_the_origin_configuration_trains_on_notes_and_chords(small_corpus: Path, tmp_path: Path) -> None:
    small = {"network.layers": "3", "network.hidden": "16", "network.embedding": "8", "training.epochs": "1"}
    trained = train(load_config("origin", small), small_corpus, tmp_path / "run", device="cpu", progress=False)
    assert Run.load(tmp_path / "run").tokenizer.name == "notechord"
    assert trained.best.epoch == 1
    assert trained.dropped["retimed"] > 0
