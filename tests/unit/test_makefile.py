"""The install rules of the Makefile, with a fake pip that prints what pip prints."""

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
