"""The Dockerfile, without a build."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fantasia import __version__
from server.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
TEXT = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE))
COPIED = sorted(
    {path for line in re.findall(r"^COPY (?!--from)(.*) \S+$", TEXT, re.MULTILINE) for path in line.split()}
)
STAGES = re.findall(r"^FROM (\S+) AS (\S+)$", TEXT, re.MULTILINE)
LOCKS = ["server.txt", "server-gpu.txt", "sbom.txt"]


def variables(stage: str) -> dict[str, str]:
    """The variables that a stage sets itself."""
    (text,) = re.findall(rf"^FROM \S+ AS {stage}$(.*?)(?=^FROM|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    return dict(pair.split("=", 1) for line in re.findall(r"^ENV (.*)$", text, re.MULTILINE) for pair in line.split())


def test_hadolint_passes() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=30)  # noqa: S603

    assert (found.returncode, found.stdout) == (0, "")


def test_it_copies_only_what_the_server_and_its_build_need() -> None:
    scripts = {"deploy/image/prune.sh", "deploy/image/sbom.py"}
    locks = {f"requirements/{name}" for name in LOCKS}

    assert set(COPIED) == {"music", "runtime", "server", "proto/fantasia", "models", *locks, *scripts}


@pytest.mark.parametrize("path", COPIED)
def test_copied_paths_exist_and_are_not_ignored(path: str) -> None:
    included = (ROOT / ".dockerignore").read_text().splitlines()

    assert (ROOT / path).exists()
    assert f"!{path}" in included or f"!{Path(path).parent}" in included


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_has_hashes(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text().replace("\\\n", " ")
    packages = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]

    assert len(packages) > 10
    assert all("==" in line and "--hash=sha256:" in line for line in packages)
    assert variables("build")["PIP_REQUIRE_HASHES"] == "1"
    assert variables("build")["PIP_ONLY_BINARY"] == ":all:"


def test_both_targets_have_the_same_packages_but_for_cuda() -> None:
    def packages(lock: str) -> set[str]:
        return set(re.findall(r"^(\S+==\S+) ", (ROOT / "requirements" / lock).read_text(), re.MULTILINE))

    only_cpu, only_gpu = (packages(a) - packages(b) for a, b in [LOCKS[:2], LOCKS[1::-1]])

    assert {name.split("==")[0] for name in only_cpu} == {"onnxruntime"}
    assert all(name.startswith(("nvidia-", "onnxruntime-gpu==")) for name in only_gpu)


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("unwanted", ["torch", "music21", "matplotlib", "grpcio-tools"])
def test_no_training_package_is_installed(unwanted: str, lock: str) -> None:
    locked = (ROOT / "requirements" / lock).read_text()

    assert f"\n{unwanted}==" not in f"\n{locked}"


def test_its_stages_are_the_targets() -> None:
    assert [name for base, name in STAGES if base == "runtime"] == ["gpu", "cpu"]
    assert STAGES[-1][1] == "cpu"  # the default
    assert ("${RUNTIME_BASE}", "runtime") in STAGES


def test_its_variables_are_settings() -> None:
    known = {f"FANTASIA_{name.upper()}" for name in Settings.model_fields}
    found = variables("runtime") | variables("gpu")

    assert {name for name in found if name.startswith("FANTASIA_")} <= known
    assert found["FANTASIA_HOST"] == "0.0.0.0"  # noqa: S104 - clients are outside of the container
    assert found["FANTASIA_PROVIDER"] == "cuda"
    assert variables("cpu") == {}


def test_onnx_runtime_telemetry_is_off() -> None:
    assert variables("runtime")["ORT_DISABLE_TELEMETRY"] == "1"


def test_it_exposes_the_servers_ports() -> None:
    ports = [Settings.model_fields[name].default for name in ("port", "metrics_port")]

    assert re.findall(r"^EXPOSE (.*)$", TEXT, re.MULTILINE) == [" ".join(map(str, ports))]


def test_it_runs_the_server_as_a_numeric_user_other_than_root() -> None:
    assert re.findall(r"^ENTRYPOINT (.*)$", TEXT, re.MULTILINE) == ['["python", "-m", "server"]']
    (user,) = re.findall(r"^USER (\d+):\d+$", TEXT, re.MULTILINE)
    assert int(user) > 0


def test_its_version_is_the_projects() -> None:
    assert set(re.findall(r"^ARG VERSION=(.*)$", TEXT, re.MULTILINE)) == {__version__}
