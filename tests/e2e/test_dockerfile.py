"""The Dockerfile, without building it."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from server.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
TEXT = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE))
COPIED = re.findall(r"^COPY (?!--from)(\S+) \S+$", TEXT, re.MULTILINE)


def variables() -> dict[str, str]:
    (line,) = re.findall(r"^ENV (.*)$", TEXT, re.MULTILINE)
    return dict(pair.split("=", 1) for pair in line.split())


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=30)  # noqa: S603

    assert (found.returncode, found.stdout) == (0, "")


def test_it_copies_what_serving_takes_and_no_more() -> None:
    assert set(COPIED) == {"requirements/server.txt", "music", "server", "proto/fantasia", "models"}


@pytest.mark.parametrize("path", COPIED)
def test_what_it_copies_exists_and_is_sent_to_the_builder(path: str) -> None:
    assert (ROOT / path).exists()
    assert f"!{path}" in (ROOT / ".dockerignore").read_text().splitlines()


@pytest.mark.parametrize("unwanted", ["torch", "music21", "matplotlib", "grpcio-tools"])
def test_nothing_of_training_is_installed(unwanted: str) -> None:
    locked = (ROOT / "requirements" / "server.txt").read_text()

    assert f"\n{unwanted}==" not in f"\n{locked}"


def test_its_variables_are_settings() -> None:
    known = {f"FANTASIA_{name.upper()}" for name in Settings.model_fields}

    assert {name for name in variables() if name.startswith("FANTASIA_")} <= known
    assert variables()["FANTASIA_HOST"] == "0.0.0.0"  # noqa: S104 - a container is reached from outside


def test_the_model_runtime_does_not_report_home() -> None:
    assert variables()["ORT_DISABLE_TELEMETRY"] == "1"


def test_it_opens_the_ports_that_the_server_listens_on() -> None:
    ports = [Settings.model_fields[name].default for name in ("port", "metrics_port")]

    assert re.findall(r"^EXPOSE (.*)$", TEXT, re.MULTILINE) == [" ".join(map(str, ports))]


def test_it_runs_the_server_as_a_user_that_is_a_number_other_than_root() -> None:
    assert re.findall(r"^ENTRYPOINT (.*)$", TEXT, re.MULTILINE) == ['["python", "-m", "server"]']
    (user,) = re.findall(r"^USER (\d+):\d+$", TEXT, re.MULTILINE)
    assert int(user) > 0


def test_its_version_is_the_projects_and_the_deployments() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    deployment = yaml.safe_load((ROOT / "deploy" / "base" / "deployment.yaml").read_text())

    assert re.findall(r"^ARG VERSION=(.*)$", TEXT, re.MULTILINE) == [version]
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == f"fantasia:{version}"
