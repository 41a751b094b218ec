import subprocess
import sys
from pathlib import Path

import pytest

PARTS = ("engine", "service", "precision")


@pytest.mark.slow
def test_one_command_measures_part_after_part(small_bundle: Path) -> None:
    # In a process of its own, since it holds itself to a core.
    command = [sys.executable, "-m", "bench", "--bundle", str(small_bundle), "--provider", "cpu"]
    command += ["--parts", ",".join(PARTS)]
    command += ["--widths", "1,2", "--clients", "2,3", "--steps", "8", "--seconds", "0.1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=110)  # noqa: S603

    assert ended.returncode == 0, ended.stderr
    seen = [line.removeprefix("measuring: ") for line in ended.stderr.splitlines()]
    assert seen[:2] == ["engine, width 1", "engine, width 2"]
    assert seen[2:4] == ["service, clients 2, steps 8", "service, clients 3, steps 8"]
    assert seen[4:7] == ["service, clients 3, steps 2", "service, clients 3, steps 4", "service, clients 3, steps 32"]
    assert "wrote the same tokens at every width" in ended.stdout
    for title in ("Engine / bare loop", "Service / bare loop", "int8 / float32"):
        assert f"\n{title}" in ended.stdout
