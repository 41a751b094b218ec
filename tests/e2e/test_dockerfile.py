"""The Dockerfile, without a build."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fantasia import __version__
from server.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
TEXT = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE))
COPIED = re.findall(r"^COPY (?!--from)(\S+) \S+$", TEXT, re.MULTILINE)


def variables() -> dict[str, str]:
    (line,) = re.findall(r"^ENV (.*)$", TEXT, re.MULTILINE)
    return dict(pair.split("=", 1) for pair in line.split())


def test_hadolint_passes() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=30)  # noqa: S603

    assert (found.returncode, found.stdout) == (0, "")


def test_it_copies_only_what_the_server_needs() -> None:
    assert set(COPIED) == {"requirements/server.txt", "music", "runtime", "server", "proto/fantasia", "models"}


@pytest.mark.parametrize("path", COPIED)
def test_copied_paths_exist_and_are_not_ignored(path: str) -> None:
    assert (ROOT / path).exists()
    assert f"!{path}" in (ROOT / ".dockerignore").read_text().splitlines()


@pytest.mark.parametrize("unwanted", ["torch", "music21", "matplotlib", "grpcio-tools"])
def test_no_training_package_is_installed(unwanted: str) -> None:
    locked = (ROOT / "requirements" / "server.txt").read_text()

    assert f"\n{unwanted}==" not in f"\n{locked}"


def test_its_variables_are_settings() -> None:
    known = {f"FANTASIA_{name.upper()}" for name in Settings.model_fields}

    assert {name for name in variables() if name.startswith("FANTASIA_")} <= known
    assert variables()["FANTASIA_HOST"] == "0.0.0.0"  # noqa: S104 - clients are outside of the container


def test_onnx_runtime_telemetry_is_off() -> None:
    assert variables()["ORT_DISABLE_TELEMETRY"] == "1"


def test_it_exposes_the_servers_ports() -> None:
    ports = [Settings.model_fields[name].default for name in ("port", "metrics_port")]

    assert re.findall(r"^EXPOSE (.*)$", TEXT, re.MULTILINE) == [" ".join(map(str, ports))]


def test_it_runs_the_server_as_a_numeric_user_other_than_root() -> None:
    assert re.findall(r"^ENTRYPOINT (.*)$", TEXT, re.MULTILINE) == ['["python", "-m", "server"]']
    (user,) = re.findall(r"^USER (\d+):\d+$", TEXT, re.MULTILINE)
    assert int(user) > 0


def test_its_version_is_the_projects_and_the_deployments() -> None:
    deployment = yaml.safe_load((ROOT / "deploy" / "base" / "deployment.yaml").read_text())

    assert re.findall(r"^ARG VERSION=(.*)$", TEXT, re.MULTILINE) == [__version__]
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == f"fantasia:{__version__}"
