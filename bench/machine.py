"""What a result was measured on."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from bench.cores import Cores, usable_cores
from server.engine.precision import byte_products

_ROOT: Final = Path(__file__).resolve().parents[1]
_RUNTIMES: Final = ("onnxruntime-gpu", "onnxruntime")


class Machine(BaseModel):
    """Hardware and versions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu: str
    """Model name of the CPU."""
    byte_products: tuple[str, ...] = ()
    """Instructions that it multiplies bytes with, which decide what int8 gains; empty where nothing was said."""
    cores: int
    """Cores that the benchmark may use."""
    work_cores: tuple[int, ...]
    """Cores that bare loop, engine and server were held to; empty if to none."""
    client_cores: tuple[int, ...]
    """Cores that the clients were held to; empty if to none."""
    system: str
    """Kernel and architecture."""
    python: str
    onnxruntime: str
    numpy: str
    grpcio: str
    revision: str
    """Commit of the code, with `+` where files differ from it; empty if unknown."""

    @property
    def processor(self) -> str:
        """The CPU, and what it multiplies bytes with."""
        return f"{self.cpu} ({', '.join(self.byte_products)})" if self.byte_products else self.cpu


def describe_machine(cores: Cores | None = None) -> Machine:
    """What this process runs on and with; without `cores`, nobody is held to any."""
    cores = cores or Cores(len(usable_cores()))
    return Machine(
        cpu=_cpu(),
        byte_products=byte_products(),
        cores=cores.count,
        work_cores=tuple(sorted(cores.work)),
        client_cores=tuple(sorted(cores.clients)),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        onnxruntime=next(filter(None, map(_version, _RUNTIMES)), ""),
        numpy=_version("numpy"),
        grpcio=_version("grpcio"),
        revision=_revision(),
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), "") or platform.processor() or "unknown"


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _revision() -> str:
    commit = _git("rev-parse", "--short=12", "HEAD")
    return commit + "+" if commit and _git("status", "--porcelain", "--untracked-files=no") else commit


def _git(*arguments: str) -> str:
    try:
        # What git is called with is ours; a machine without it has no revision to tell.
        return subprocess.run(  # noqa: S603
            ["git", *arguments],  # noqa: S607
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
