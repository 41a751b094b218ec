"""The command from scores to a bundle, and what it refuses before its first step."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from music.bundle import load_bundle
from music.midi import write_midi
from music.score import Note, Score
from training.__main__ import main
from training.bundle_targets import check_target
from training.corpus.store import Corpus
from training.errors import StoppedError
from training.loop.trainer import Trainer
from training.run import Run

pytestmark = pytest.mark.slow  # each test trains

ROOT = Path(__file__).parents[4]
QUICK = ["--set", "training.epochs=1", "--set", "network.hidden=16", "--set", "network.embedding=8"]


def write_songs(folder: Path, count: int = 3, transpose: int = 0) -> Path:
    folder.mkdir()
    for index in range(count):
        notes = [Note(step * 240, 240, 60 + transpose + (step * (index + 2)) % 12, 80, 0) for step in range(64)]
        (folder / f"{index}.mid").write_bytes(write_midi(Score(tuple(notes), 64 * 240)))
    return folder


def pipeline(work: Path, *arguments: str) -> Result:
    places = [word for name in ("data", "runs", "models") for word in (f"--{name}", str(work / name))]
    return CliRunner().invoke(main, ["pipeline", *places, "--device", "cpu", "--quiet", *arguments])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a model called `mine` was made from `my songs`."""
    work = tmp_path_factory.mktemp("made")
    result = pipeline(work, str(write_songs(work / "my songs")), "--name", "mine", *QUICK)
    assert result.exit_code == 0, result.output
    (work / "output").write_text(result.output)
    return work


@pytest.fixture
def work(made: Path, tmp_path: Path) -> Path:
    """A copy of it, whose corpus still has the original folder of the songs."""
    return Path(shutil.copytree(made, tmp_path / "work"))


def test_one_command_makes_a_bundle_from_a_folder_with_a_space_in_its_name(made: Path) -> None:
    assert load_bundle(made / "models" / "mine").name == "mine"
    origin = Corpus.load(made / "data" / "mine.npz").origin
    assert origin is not None
    assert (origin.path, origin.files) == (str(made / "my songs"), 3)
    assert Run.load(made / "runs" / "mine").origin == origin


def test_the_last_lines_are_commands_that_serve_the_model_and_request_a_piece(made: Path) -> None:
    serve, ask = (made / "output").read_text().splitlines()[-2:]
    assert serve.endswith(f"python -m server --models {made / 'models'} --default-model mine")
    assert ask.endswith("fantasia generate --model mine --bars 8 --seed 1 -o mine.mid")


def test_before_them_the_command_says_whether_the_model_copies_and_closes(made: Path) -> None:
    lines = (made / "output").read_text().splitlines()
    header, copying, endings = lines[-6:-3]
    assert header == "24 generated pieces of 16 bars, beside 1 held-out piece:"
    assert "of 24 share a longer passage with a training piece than any held-out piece does" in copying
    assert "of 24 close; of held-out pieces" in endings
    assert any("8-gram" in line for line in lines[:-6])


def test_the_same_command_uses_the_existing_corpus_and_names_its_folder(made: Path) -> None:
    for source in ([str(made / "my songs")], []):  # without a folder, whatever was read is used
        result = pipeline(made, *source, "--name", "mine", *QUICK)
        assert result.exit_code == 0, result.output
        assert f"mine.npz (3 files, split by piece, read from {made / 'my songs'})" in result.output


@pytest.mark.parametrize(
    ("name", "near"), [("Chopin", "'chopin'"), ("my songs", "'my-songs'"), ("sub/dir", "'sub-dir'"), ("-", "")]
)
def test_an_invalid_name_is_refused_before_the_scores_are_read(tmp_path: Path, name: str, near: str) -> None:
    result = pipeline(tmp_path, str(write_songs(tmp_path / "songs")), f"--name={name}")
    assert result.exit_code == 1
    assert f"{name!r} is not a valid model name" in result.output
    assert near in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["songs"]


def refused(work: Path, *arguments: str) -> str:
    """The message with which a job is refused, before anything is read or trained."""
    before = sorted(path for path in work.rglob("*") if path.is_file())
    result = pipeline(work, *arguments)
    assert result.exit_code == 1, result.output
    assert sorted(path for path in work.rglob("*") if path.is_file()) == before
    (line,) = result.output.splitlines()
    return line


def test_another_folder_under_the_same_name_is_refused_with_both_folders_named(work: Path, made: Path) -> None:
    other = write_songs(work / "other", 4)
    message = refused(work, str(other), "--name", "mine", *QUICK)
    assert f"it was read from {made / 'my songs'} (3 files), not from {other} (4 files)" in message
    assert f"remove {work / 'data' / 'mine.npz'} and {work / 'runs' / 'mine'}" in message


def test_a_folder_that_has_changed_is_refused(work: Path) -> None:
    notes = tuple(Note(step * 240, 240, 62, 80, 0) for step in range(80))
    (work / "my songs" / "3.mid").write_bytes(write_midi(Score(notes, 80 * 240)))
    message = refused(work, str(work / "my songs"), "--name", "mine", *QUICK)
    assert "(3 files), not from" in message
    assert "(4 files)" in message


def test_a_run_with_other_music_is_refused_before_the_scores_are_read(work: Path) -> None:
    (work / "data" / "mine.npz").unlink()
    message = refused(work, str(write_songs(work / "other", 4)), "--name", "mine", *QUICK)
    assert f"{work / 'runs' / 'mine'} was started with other music: it was read from" in message


def test_a_corpus_without_its_origin_is_not_used_for_a_folder(work: Path) -> None:
    path = work / "data" / "mine.npz"
    corpus = Corpus.load(path)
    corpus.origin = None
    corpus.save(path)
    message = refused(work, str(work / "my songs"), "--name", "mine", *QUICK)
    assert "does not say which folder it was read from" in message


def test_a_bundle_that_was_trained_elsewhere_is_replaced_only_with_the_option(work: Path) -> None:
    songs = str(write_songs(work / "other", 4))
    (work / "models" / "mine").rename(work / "models" / "shipped")
    manifest = work / "models" / "shipped" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"name": "mine"', '"name": "shipped"'))
    message = refused(work, songs, "--name", "shipped", *QUICK)
    assert f"{work / 'models' / 'shipped'} holds a model that was trained elsewhere" in message
    result = pipeline(work, songs, "--name", "shipped", "--replace", *QUICK)
    assert result.exit_code == 0, result.output
    assert load_bundle(work / "models" / "shipped").manifest.provenance["corpus"]["source"].startswith("4 files")


def test_two_bundles_in_one_folder_cannot_have_the_same_name(work: Path) -> None:
    (work / "models" / "mine").rename(work / "models" / "older")
    message = refused(work, str(work / "my songs"), "--name", "mine", *QUICK)
    assert f"{work / 'models' / 'older'} already holds a model called 'mine'" in message
    check_target(work / "models" / "older", "mine")  # replacing itself is allowed


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--set", "training.epoch=3"], "training.epoch"),
        (["--set", "training.epochs=0"], "training.epochs"),
        (["--config", "chopin"], "unknown configuration 'chopin'"),
        (["--config", "smoke", "--set", "network.hidden=many"], "not TOML"),
    ],
)
def test_an_invalid_configuration_is_refused_before_the_scores_are_read(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    songs = write_songs(tmp_path / "songs")
    assert sentence in refused(tmp_path, str(songs), "--name", "mine", *arguments)


def test_empty_and_missing_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no score in" in refused(tmp_path, str(tmp_path / "empty"), "--name", "mine")
    assert "there is no file or folder" in refused(tmp_path, str(tmp_path / "missing"), "--name", "mine")


def test_output_folders_that_cannot_be_created_are_refused(tmp_path: Path) -> None:
    songs = write_songs(tmp_path / "songs")
    (tmp_path / "file").write_text("in the way")
    for folder in ("models", "runs", "data"):
        message = refused(tmp_path, str(songs), "--name", "mine", f"--{folder}", str(tmp_path / "file" / folder))
        assert "Not a directory" in message
        assert str(tmp_path / "file" / folder) in message


def test_a_stopped_pipeline_prints_the_export_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopping(trainer: Trainer, epoch: int) -> None:
        raise StoppedError("stopped in epoch 1 of 1, after 50% of it", signal.SIGTERM)

    monkeypatch.setattr(Trainer, "train_epoch", stopping)
    result = pipeline(tmp_path, str(write_songs(tmp_path / "songs")), "--name", "mine", *QUICK)
    assert result.exit_code == 143
    assert result.output.splitlines()[-1].endswith(
        f"export {tmp_path / 'runs' / 'mine'} --out {tmp_path / 'models' / 'mine'}"
    )


def test_a_model_is_tuned_on_a_folder(work: Path) -> None:
    base, songs = work / "models" / "mine", str(write_songs(work / "other", 4))
    result = pipeline(work, songs, "--name", "tuned", "--from", str(base), "--set", "training.epochs=1")
    assert result.exit_code == 0, result.output
    assert f"{base} before the tuning: " in result.output
    provenance = load_bundle(work / "models" / "tuned").manifest.provenance
    assert provenance["tuned_from"]["digest"] == load_bundle(base).digest
    assert provenance["corpus"]["source"].startswith("4 files")
    other = refused(work, songs, "--name", "tuned")
    assert f"{work / 'runs' / 'tuned'} was started from the model mine: use the same --from" in other


def test_what_cannot_be_tuned_is_refused_before_the_scores_are_read(work: Path) -> None:
    base, songs = work / "models" / "mine", str(write_songs(work / "other", 4))
    start = ("--from", str(base))
    for arguments, sentence in (
        ((songs, "--name", "mine", *start), "would replace the model that it starts from"),
        (("--name", "new", *start), "give the scores to tune it on (make train: MIDI=folder)"),
        ((songs, "--name", "new", *start, "--set", "network.hidden=64"), "--set network.hidden cannot be used"),
        ((songs, "--name", "new", *start, "--set", "training.epochs=0"), "training.epochs"),
        ((songs, "--name", "new", "--from", str(work / "gone")), "there is nothing at this path"),
    ):
        assert sentence in refused(work, *arguments)
    both = pipeline(work, songs, "--name", "new", *start, "--config", "auto")
    assert both.exit_code == 2
    assert "leave out the configuration auto" in both.output.replace("\n", " ")


def words_of_make(folder: Path, *variables: str, environment: dict[str, str] | None = None) -> list[list[str]]:
    """The command lines that a target of the Makefile gives to Python, word by word."""
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.write_text('#!/usr/bin/env python3\nimport json, sys\nprint("WORDS" + json.dumps(sys.argv[1:]))\n')
    python.chmod(0o755)
    for stamp in ("base", "served", "developed"):
        (folder / stamp).touch()
    clean = {name: value for name, value in os.environ.items() if name not in ("NAME", "CONFIG", "MIDI", "MODELS")}
    make = shutil.which("make")
    assert make is not None
    done = subprocess.run(  # noqa: S603  # our own command
        [make, "-C", str(ROOT), f"VENV={folder}", *variables],
        capture_output=True,
        text=True,
        check=False,
        env=clean | (environment or {}),
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("WORDS")]
    return [json.loads(line.removeprefix("WORDS")) for line in lines]


def test_make_passes_every_word_unchanged(tmp_path: Path) -> None:
    (words,) = words_of_make(
        tmp_path / "v",
        "train",
        "MIDI=my son's songs; $$(touch x)",
        "NAME=my model",
        "EPOCHS=40",
        "PATIENCE=9",
        "THREADS=1",
        "DEVICE=cpu",
        "SET=training.seed=2 training.transpose=[-3,3]",
        "CONFIG=my file.toml",
        "MODELS=my models",
        "REPLACE=1",
        "FROM=models/my model",
        "PREVIEWS=0",
    )
    assert words[:4] == ["-m", "training", "pipeline", "my son's songs; $(touch x)"]
    options = words[4:]
    sets = [options[index + 1] for index, word in enumerate(options) if word == "--set"]
    assert sets == ["training.epochs=40", "training.patience=9", "training.seed=2", "training.transpose=[-3,3]"]
    for option, value in (
        ("--name", "my model"),
        ("--models", "my models"),
        ("--config", "my file.toml"),
        ("--from", "models/my model"),
        ("--threads", "1"),
        ("--device", "cpu"),
    ):
        assert options[options.index(option) + 1] == value
    assert "--replace" in options
    assert "--no-previews" in options


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ((), ["--name", "chorales", "--models", "models"]),
        (("CONFIG=folk",), ["--name", "folk", "--models", "models", "--config", "folk"]),
        (("MIDI=songs",), ["songs", "--name", "mine", "--models", "models"]),
    ],
)
def test_make_train_names_the_model_after_its_source(
    tmp_path: Path, variables: tuple[str, ...], words: list[str]
) -> None:
    assert words_of_make(tmp_path / "v", "train", *variables) == [["-m", "training", "pipeline", *words]]


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"NAME": "ours"}, "ours"),
        ({"NAME": "DESKTOP-7", "WSL_DISTRO_NAME": "Debian"}, "chorales"),  # there, the computer is called so
    ],
)
def test_name_from_the_environment_is_used_except_under_wsl(
    tmp_path: Path, environment: dict[str, str], name: str
) -> None:
    (words,) = words_of_make(tmp_path / "v", "train", environment=environment)
    assert words[words.index("--name") + 1] == name


def test_make_export_exports_the_run(tmp_path: Path) -> None:
    assert words_of_make(tmp_path / "v", "export", "NAME=my model") == [
        ["-m", "training", "export", "runs/my model", "--out", "models/my model"]
    ]
