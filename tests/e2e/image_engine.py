"""Builds the container image and runs it with restricted privileges, for the tests of both targets.

`deploy/image/test.sh` installs the tools and the base images, with options for machines without systemd or a registry.
On other machines with podman, `pytest -m image tests/e2e` is enough.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
BUILD_SECONDS: Final = 3000


def options(name: str) -> list[str]:
    return shlex.split(os.environ.get(f"IMAGE_{name}", ""))


def podman(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = ["podman", *options("ENGINE_OPTIONS"), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)  # noqa: S603
    assert not check or ended.returncode == 0, ended.stderr
    return ended


def run(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a container."""
    words = [*options("RUN_OPTIONS"), "run", *options("LIMITS"), "--no-healthcheck", *arguments]
    return podman(*words, check=check)


def built(target: str) -> str:
    """The name of the target's image, built from this checkout as `make image` builds it."""
    if not shutil.which("podman"):
        pytest.skip("needs podman")
    name = f"localhost/fantasia:test-{target}"
    command = [str(ROOT / "deploy" / "image" / "build.sh"), target]
    environment = {**os.environ, "IMAGE": name}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=BUILD_SECONDS)  # noqa: S603
    assert ended.returncode == 0, ended.stderr[-4000:]
    return name


def inspect_image(image: str) -> dict[str, Any]:
    """What the engine knows about an image."""
    (found,) = json.loads(podman("image", "inspect", image).stdout)
    assert isinstance(found, dict)
    return found


def python_in(image: str, program: str) -> str:
    """The output of a Python program in the image, with the rights of a server."""
    return run("--rm", *HARDENED, "--entrypoint=python", image, "-c", program).stdout.strip()


def scrape(port: int) -> str:
    """The metrics."""
    with urllib.request.urlopen(f"http://localhost:{port}/metrics", timeout=10) as answer:
        return str(answer.read(), "utf-8")


HARDENED: Final = ["--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges"]


class Container:
    """A server without root, capabilities and writable files, on free ports of this machine.

    Args:
        image: name of the image.
        cpus: limit of CPU cores.
        more: further options of the engine.
    """

    def __init__(self, image: str, *more: str, cpus: float = 2, memory: str = "768m") -> None:
        bounded = [f"--memory={memory}", f"--memory-swap={memory}", f"--cpus={cpus}", "--network=host"]
        anywhere = ["--env=FANTASIA_PORT=0", "--env=FANTASIA_METRICS_PORT=0"]
        self.id = run("--detach", *HARDENED, *bounded, *anywhere, *more, image).stdout.strip()

    def log(self) -> str:
        ended = podman("logs", self.id)
        return ended.stdout + ended.stderr

    def inspect(self, what: str) -> str:
        return podman("inspect", "--format", what, self.id).stdout.strip()

    def ports(self) -> tuple[int, int]:
        """Ports of the service and of the metrics, after the start."""
        for _ in range(1200):
            if found := re.search(r"msg=serving address=0\.0\.0\.0:(\d+) metrics_port=(\d+)", self.log()):
                return int(found[1]), int(found[2])
            assert self.inspect("{{.State.Status}}") == "running", self.log()
            time.sleep(0.1)
        raise AssertionError(self.log())

    def status(self) -> dict[str, str]:
        """Status of its first process, from /proc."""
        text = Path("/proc", self.inspect("{{.State.Pid}}"), "status").read_text()
        return {name: value.strip() for name, value in (line.split(":", 1) for line in text.splitlines())}

    def stop(self) -> int:
        """Send SIGTERM, and return the exit code."""
        podman("stop", "--time=60", self.id)
        return int(self.inspect("{{.State.ExitCode}}"))

    def remove(self) -> None:
        podman("rm", "--force", "--time=0", self.id)
