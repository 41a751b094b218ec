"""The container image, built and run with the security settings of the Deployment.

`deploy/test_image.sh` installs the tools and the base image, with options for machines without systemd or a registry.
On other machines with podman and buildah, `pytest -m image` is enough.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fantasia_client import Client, Health

ROOT = Path(__file__).resolve().parents[2]
BASE = "docker.io/library/python:3.13-slim"
IMAGE = "localhost/fantasia:test"
MEBIBYTE = 1 << 20

pytestmark = [pytest.mark.image, pytest.mark.timeout(900)]


def options(name: str) -> list[str]:
    return shlex.split(os.environ.get(f"IMAGE_{name}", ""))


def engine(tool: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [tool, *options("ENGINE_OPTIONS"), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)  # noqa: S603
    assert not check or ended.returncode == 0, ended.stderr
    return ended


def run(*arguments: str) -> str:
    return engine("podman", *options("RUN_OPTIONS"), "run", *options("LIMITS"), *arguments).stdout.strip()


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://localhost:{port}/metrics", timeout=10) as answer:
        return str(answer.read(), "utf-8")


@pytest.fixture(scope="module")
def image() -> str:
    if not (shutil.which("buildah") and shutil.which("podman")):
        pytest.skip("needs buildah and podman")
    if engine("podman", "image", "exists", BASE, check=False).returncode:
        pytest.skip(f"needs the image {BASE}")
    engine(
        "buildah",
        "bud",
        *options("BUILD_OPTIONS"),
        "--format=docker",
        "--pull-never",
        "--layers",
        f"--tag={IMAGE}",
        ".",
    )
    return IMAGE


class Container:
    """A server without root, capabilities and writable files, on free ports."""

    def __init__(self, image: str) -> None:
        hardened = ["--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges"]
        bounded = ["--memory=512m", "--cpus=2", "--network=host", "--no-healthcheck"]
        anywhere = ["--env=FANTASIA_PORT=0", "--env=FANTASIA_METRICS_PORT=0"]
        self.id = run("--detach", *hardened, *bounded, *anywhere, image)

    def log(self) -> str:
        ended = engine("podman", "logs", self.id)
        return ended.stdout + ended.stderr

    def inspect(self, what: str) -> str:
        return engine("podman", "inspect", "--format", what, self.id).stdout.strip()

    def ports(self) -> tuple[int, int]:
        """Ports of the service and of the metrics, after the start."""
        for _ in range(300):
            if found := re.search(r"msg=serving address=0\.0\.0\.0:(\d+) metrics_port=(\d+)", self.log()):
                return int(found[1]), int(found[2])
            assert self.inspect("{{.State.Status}}") == "running", self.log()
            time.sleep(0.1)
        raise AssertionError(self.log())

    def status(self) -> dict[str, str]:
        """Status of its first process, from /proc."""
        text = Path("/proc", self.inspect("{{.State.Pid}}"), "status").read_text()
        return {name: value.strip() for name, value in (line.split(":", 1) for line in text.splitlines())}


@pytest.fixture
def container(image: str) -> Iterator[Container]:
    container = Container(image)
    yield container
    engine("podman", "rm", "--force", "--time=0", container.id)


def test_it_generates_music_without_privileges_and_drains(container: Container) -> None:
    port, _ = container.ports()
    with Client(f"localhost:{port}") as client:
        assert client.health() is Health.SERVING
        first, second = (client.generate(bars=4, seed=7).midi for _ in range(2))
    status = container.status()
    engine("podman", "stop", "--time=30", container.id)

    assert first.startswith(b"MThd")
    assert first == second
    assert status["Uid"].split() == ["10001"] * 4
    assert (int(status["CapEff"], 16), status["NoNewPrivs"]) == (0, "1")
    assert int(status["VmHWM"].removesuffix("kB")) * 1024 < 400 * MEBIBYTE
    assert container.inspect("{{.State.ExitCode}}") == "0"
    # Every line is from the server's log, without a warning but that there is no key.
    log = container.log().splitlines()
    (warning,) = [line for line in log if " level=info " not in line]
    assert "no key for resume tokens" in warning
    assert log[-1].endswith("msg=stopped")


def test_a_running_call_completes_after_sigterm(container: Container) -> None:
    port, metrics_port = container.ports()
    with Client(f"localhost:{port}") as client, ThreadPoolExecutor() as threads:
        call = threads.submit(client.generate, bars=64, seed=1)
        while not re.search(r"^fantasia_slots_used\{.*\} 1\.0$", scrape(metrics_port), re.MULTILINE):
            assert not call.done()
        engine("podman", "kill", "--signal=TERM", container.id)
        assert not call.done()
        piece = call.result()
    engine("podman", "wait", container.id)

    assert piece.token_count == 64 * 64  # 16 steps of four voices a bar
    assert container.inspect("{{.State.ExitCode}}") == "0"


def test_it_contains_only_the_server(image: str) -> None:
    program = """
import importlib.util, json
names = ["torch", "music21", "matplotlib", "pytest", "training", "server", "onnxruntime"]
print(json.dumps([name for name in names if importlib.util.find_spec(name)]))
"""

    assert json.loads(run("--rm", "--entrypoint=python", image, "-c", program)) == ["server", "onnxruntime"]


def test_its_code_is_compiled_and_read_only(image: str) -> None:
    program = """
import os, pathlib
for path in pathlib.Path("/app").rglob("*"):
    assert os.access(path, os.R_OK) and not os.access(path, os.W_OK), path
    if path.suffix == ".py":
        assert any((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc")), path
"""

    run("--rm", "--entrypoint=python", image, "-c", program)
