import subprocess
import sys
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.server import running_server


def test_one_command_measures_engine_and_service(small_bundle: Path) -> None:
    # In a process of its own, since it holds itself to a core.
    command = [sys.executable, "-m", "bench", "--bundle", str(small_bundle), "--provider", "cpu"]
    command += ["--widths", "1,2", "--clients", "2", "--steps", "8", "--seconds", "0.1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100)  # noqa: S603

    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.splitlines() == [
        "measuring: engine, width 1",
        "measuring: engine, width 2",
        "measuring: service, clients 2",
    ]
    rows = [line.split() for line in ended.stdout.splitlines() if line[:1] == " " and line.split()[0].isdigit()]
    assert [row[0] for row in rows] == ["1", "2", "2"]
    assert all(float(row[1]) > 0.0 for row in rows)
    assert "wrote the same tokens at every width" in ended.stdout


def test_a_server_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    with (
        pytest.raises(BenchError, match=r"the server did not start: python -m server: error: .* holds no bundle"),
        running_server(tmp_path, slots=1, provider="cpu", threads=1),
    ):
        pass
