import json
from pathlib import Path

import numpy as np
import pytest

from training.checkpoint import BEST, load_checkpoint
from training.config import Config, load_config
from training.errors import CheckpointError, ConfigurationError
from training.run import ABOUT, TEACHERS, Run, train
from training.trainer import Trainer
from training.written import WRITTEN

SMALL = {"tokenizer.parameters.voices": "2", "training.epochs": "1", "training.window": "16"}


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """The smoke configuration for two voices, as a file."""
    path = tmp_path / "teacher.toml"
    text = Path("training/configs/smoke.toml").read_text()
    path.write_text(text.replace("voices = 4", "voices = 2").replace("epochs = 3", "epochs = 1"))
    assert load_config(str(path)).tokenizer == load_config("smoke", SMALL).tokenizer
    return path


def student(teacher: Path, **changes: str) -> Config:
    distillation = {"teacher": f'"{teacher}"', "seeds": "[5, 6]", "weight": "0.5", "written": "3"} | changes
    return load_config("smoke", SMALL | {f"distillation.{name}": value for name, value in distillation.items()})


def test_the_teachers_are_trained_first_and_are_runs_like_any_other(
    teacher: Path, small_corpus: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    trained = train(student(teacher), small_corpus, folder, device="cpu", progress=False)
    assert trained.train_pieces == 5
    assert Run.load(folder).config == student(teacher)
    teachers = [Run.load(folder / TEACHERS / name) for name in ("5", "6")]
    assert [run.config.training.seed for run in teachers] == [5, 6]
    alone = tmp_path / "alone"
    train(teachers[0].config, small_corpus, alone, device="cpu", progress=False)
    weights, taught = (load_checkpoint(path / BEST)["model"] for path in (alone, folder / TEACHERS / "5"))
    assert all(weights[name].equal(taught[name]) for name in weights)
    with np.load(folder / TEACHERS / "5" / WRITTEN) as written:
        assert len(written["lengths"]) == 3
        assert (written["lengths"] == 121).all()  # as long as the pieces: 60 steps of two voices and the end


def test_what_is_finished_is_neither_trained_nor_written_again(
    teacher: Path, small_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    first = train(student(teacher), small_corpus, folder, device="cpu", progress=False)
    written = folder / TEACHERS / "5" / WRITTEN
    stamp = written.stat().st_mtime_ns
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_epoch", lambda *args: pytest.fail("trained again"))
        assert train(student(teacher), small_corpus, folder, device="cpu", progress=False) == first
    assert written.stat().st_mtime_ns == stamp
    with pytest.raises(CheckpointError, match="holds 3 pieces, not 4"):
        train(student(teacher, written="4"), small_corpus, folder, device="cpu", progress=False)
    with pytest.raises(CheckpointError, match="another corpus or configuration"):
        train(student(teacher, weight="0.6"), small_corpus, folder, device="cpu", progress=False)
    written.write_bytes(b"no arrays")
    with pytest.raises(CheckpointError, match="damaged"):
        train(student(teacher), small_corpus, folder, device="cpu", progress=False)


def test_a_run_without_teachers_says_nothing_of_them(small_run: Path) -> None:
    assert json.loads((small_run / ABOUT).read_text())["config"]["distillation"] is None
    assert not (small_run / TEACHERS).exists()


def test_the_shipped_chorales_learn_from_networks_of_the_chorales_configuration() -> None:
    config = load_config("chorales-distilled")
    assert config.distillation is not None
    assert list(config.teachers) == list(config.distillation.seeds)
    plain = load_config("chorales")
    assert config.teachers[plain.training.seed] == plain
    assert (config.network.layers, config.network.hidden) == (plain.network.layers, plain.network.hidden)
    assert config.bundle == plain.bundle


def test_a_teacher_needs_the_same_tokens_and_no_teacher(teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is no teacher"):
        _ = student(Path("folk")).teachers
    taught = tmp_path / "taught.toml"
    entry = f'\n[distillation]\nteacher = "{teacher}"\nseeds = [1]\nweight = 1.0\n'
    taught.write_text(teacher.read_text() + entry)
    with pytest.raises(ConfigurationError, match="is no teacher"):
        _ = student(taught).teachers
    with pytest.raises(ConfigurationError, match="no configuration"):
        _ = student(tmp_path / "nowhere.toml").teachers
    with pytest.raises(ConfigurationError, match="two teachers with one seed"):
        student(teacher, seeds="[5, 5]")
