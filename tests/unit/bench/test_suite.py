import subprocess
import sys
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.server import running_server

PARTS = ("engine", "service", "precision")


def test_one_command_measures_part_after_part(small_bundle: Path) -> None:
    # In a process of its own, since it holds itself to a core.
    command = [sys.executable, "-m", "bench", "--bundle", str(small_bundle), "--provider", "cpu"]
    command += ["--parts", ",".join(PARTS)]
    command += ["--widths", "1,2", "--clients", "2,3", "--steps", "8", "--seconds", "0.1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=110)  # noqa: S603

    assert ended.returncode == 0, ended.stderr
    told = [line.removeprefix("measuring: ") for line in ended.stderr.splitlines()]
    assert told[:2] == ["engine, width 1", "engine, width 2"]
    assert told[2:4] == ["service, clients 2, steps 8", "service, clients 3, steps 8"]
    assert told[4:7] == ["service, clients 3, steps 2", "service, clients 3, steps 4", "service, clients 3, steps 32"]
    assert "wrote the same tokens at every width" in ended.stdout
    for title in ("Engine / bare loop", "Service / bare loop", "int8 / float32", "Sampling"):
        assert f"\n{title}" in ended.stdout
    assert "2 x 512" in ended.stdout


def test_a_server_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    with (
        pytest.raises(BenchError, match=r"the server did not start: python -m server: error: .* holds no bundle"),
        running_server(tmp_path, provider="cpu", threads=1, precision="float32"),
    ):
        pass
