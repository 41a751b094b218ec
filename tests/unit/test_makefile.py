"""The Makefile: its install rules with a fake pip, and the commands of the targets that evaluate bundles."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PIP = """#!/bin/sh
echo "Looking in indexes: somewhere"
echo "Collecting one==1.0 (from -r requirements/demo.txt (line 1))"
echo "  Downloading one-1.0-py3-none-any.whl (12.3 MB)"
echo "Requirement already satisfied: two"
echo "Installing collected packages: one"
{end}
"""


def install(folder: Path, end: str) -> subprocess.CompletedProcess[str]:
    """`make VENV/served` in an environment whose Python is `PIP`."""
    python = folder / "bin" / "python"
    python.parent.mkdir()
    python.write_text(PIP.format(end=end))
    python.chmod(0o755)
    (folder / "base").touch()
    command = ["make", "--no-print-directory", f"VENV={folder}", str(folder / "served")]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)  # noqa: S603


def test_every_package_has_a_line(tmp_path: Path) -> None:
    result = install(tmp_path, "exit 0")
    assert result.returncode == 0, result.stderr
    shown = ["  one==1.0", "    downloading (12.3 MB)", "  unpacking"]
    lines = result.stdout.splitlines()
    assert lines[0].startswith("installing packages of the server and the client")
    assert lines[1:4] == shown
    assert lines[5:] == shown
    assert (tmp_path / "served").exists()


def test_a_failure_is_printed_and_leaves_no_stamp(tmp_path: Path) -> None:
    result = install(tmp_path, "echo 'ERROR: no network' >&2; exit 1")
    assert result.returncode == 2
    assert "ERROR: no network" in result.stderr
    assert not (tmp_path / "served").exists()


def evaluate(folder: Path, target: str, **variables: str) -> list[str]:
    """The commands of a target that evaluates the bundles `folk` and `piano` in a folder without corpora."""
    python = folder / "venv" / "bin" / "python"
    if not python.exists():
        python.parent.mkdir(parents=True)
        python.write_text('#!/bin/sh\nshift 2\necho "$*"\n')
        python.chmod(0o755)
        for name in ("folk", "piano"):
            (folder / "models" / name).mkdir(parents=True)
            (folder / "models" / name / "manifest.json").touch()
    installed = "venv/developed"
    settings = ["VENV=venv", *(f"{name}={value}" for name, value in variables.items())]
    command = ["make", "--no-print-directory", "-f", str(ROOT / "Makefile"), "-o", installed, target, *settings]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)  # noqa: S603
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_piano_is_evaluated_only_where_its_scores_are(tmp_path: Path) -> None:
    folk = [
        "prepare folk --out data/folk.npz",
        "evaluate models/folk --corpus data/folk.npz --split test --samples 1000 --gate",
    ]
    lines = evaluate(tmp_path, "gate")
    assert lines[:2] == folk
    assert lines[2].startswith("piano is skipped: data/piano.npz is missing, and PIANO_SOURCE=")
    assert len(lines) == 3
    gate = "evaluate models/piano --corpus data/piano.npz --split test --samples 216 --gate"
    lines = evaluate(tmp_path, "gate", PIANO_SOURCE="nifc mutopia")
    assert lines == [*folk, "prepare piano --source nifc --source mutopia --out data/piano.npz", gate]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "piano.npz").touch()
    assert evaluate(tmp_path, "gate") == [*folk, gate]
    recorded = [line for line in evaluate(tmp_path, "quality") if line.startswith("evaluate models/piano")]
    assert recorded == [
        "evaluate models/piano --corpus data/piano.npz --split test --samples 216 "
        "--record training/evaluation/results/piano.json --skip-recorded"
    ]
