"""`tools/install.py` with the real pip, on wheels of our own making."""

import os
import pty
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "tools" / "install.py"
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
ENVIRONMENT["PIP_CONFIG_FILE"] = os.devnull


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder with the wheels of two packages, and a requirements file that names both."""
    for name in ("one", "two"):
        info = f"{name}-1.0.dist-info"
        files = {
            f"{name}.py": "",
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
        with zipfile.ZipFile(tmp_path / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            for path, text in files.items():
                wheel.writestr(path, text)
    (tmp_path / "all.txt").write_text("# both\none==1.0\n    # via nothing\ntwo==1.0\n")
    return tmp_path


def command(wheels: Path, *options: str) -> list[str]:
    place = ["--no-index", "--find-links", str(wheels), "--target", str(wheels / "target")]
    return [sys.executable, str(SCRIPT), "two small things", *place, *options]


def test_every_package_is_a_line_and_the_end_is_told(wheels: Path) -> None:
    result = subprocess.run(  # noqa: S603
        command(wheels, "-r", str(wheels / "all.txt")), capture_output=True, text=True, env=ENVIRONMENT, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "installing two small things: 2 packages"
    assert [line for line in lines if line.startswith("  [")] == ["  [1/2] one==1.0", "  [2/2] two==1.0"]
    assert "  unpacking 2 packages" in lines
    assert lines[-1].startswith("  done in ")
    assert (wheels / "target" / "two.py").exists()


def test_a_failure_has_pips_exit_code_and_its_reason(wheels: Path) -> None:
    result = subprocess.run(  # noqa: S603
        command(wheels, "three==1.0"), capture_output=True, text=True, env=ENVIRONMENT, check=False
    )
    assert result.returncode == 1
    assert "three==1.0" in result.stderr
    assert "pip failed after" in result.stdout
    assert "done" not in result.stdout


def test_a_terminal_has_one_line_that_is_written_over(wheels: Path) -> None:
    outer, inner = pty.openpty()
    try:
        result = subprocess.run(  # noqa: S603
            command(wheels, "-r", str(wheels / "all.txt")), stdout=inner, env=ENVIRONMENT, check=False
        )
        assert result.returncode == 0
        text = os.read(outer, 1 << 16).decode()
    finally:
        os.close(inner)
        os.close(outer)
    assert text.count("\n") == 2
    assert "\r\x1b[K  unpacking 2 packages (" in text


def test_nothing_is_installed_in_silence() -> None:
    steps = subprocess.run(
        ["make", "--dry-run", "--always-make", "--no-print-directory", "setup"],  # noqa: S607
        capture_output=True, text=True, check=True, cwd=SCRIPT.parents[1],
    ).stdout.splitlines()  # fmt: skip
    installs = [step for step in steps if "requirements/" in step or "clients/python" in step]
    assert len(installs) == 4
    assert all(step.startswith('.venv/bin/python tools/install.py "') for step in installs)
    assert not any("-m pip" in step or "bin/pip" in step for step in steps)
    assert "next: make demo" in steps[-1]
