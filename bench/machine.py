"""The machine that a result was measured on, and how its cores are shared."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from report import Record
from runtime.precision import int8_instructions

_ROOT: Final = Path(__file__).resolve().parents[1]


class Machine(Record):
    """Hardware and versions."""

    cpu: str
    """Model name of the CPU."""
    int8_instructions: tuple[str, ...] = ()
    """Instructions for products of bytes, which decide what int8 gains; empty if unknown."""
    cores: int
    """Cores that the benchmark may use."""
    work_cores: tuple[int, ...]
    """Cores that bare loop, engine and server are pinned to; empty if not pinned."""
    client_cores: tuple[int, ...]
    """Cores that the clients are pinned to; empty if not pinned."""
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
        """The CPU and its instructions for int8."""
        return f"{self.cpu} ({', '.join(self.int8_instructions)})" if self.int8_instructions else self.cpu

    def lines(self, users: str) -> list[str]:
        """The hardware and the versions, one line each, for a report.

        Args:
            users: who shares the cores.
        """
        code = f", code {self.revision}" if self.revision else ""
        return [
            f"{self.processor}, {self.cores} core(s) for {users}; {self.system}",
            f"Python {self.python}, ONNX Runtime {self.onnxruntime}, gRPC {self.grpcio}{code}",
        ]


@dataclass(frozen=True, slots=True)
class Cores:
    """How the cores are shared."""

    count: int
    """Cores that the benchmark may use."""
    work: frozenset[int] = frozenset()
    """For bare loop, engine and server; empty if not pinned."""
    clients: frozenset[int] = frozenset()
    """For the clients of the service; empty if not pinned."""


def usable_cores() -> frozenset[int]:
    """The cores that this process may run on."""
    if sys.platform == "linux":
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def share_cores(usable: Iterable[int], threads: int) -> Cores:
    """Give `threads` cores to the work and the others to the clients; pin nothing if none would be left for them."""
    ranked = sorted(usable)
    if sys.platform != "linux" or threads >= len(ranked):
        return Cores(len(ranked))
    return Cores(len(ranked), frozenset(ranked[:threads]), frozenset(ranked[threads:]))


def pin_to(cores: frozenset[int]) -> None:
    """Pin this process, and the processes that it starts from now on, to the cores; no cores: do nothing."""
    if cores and sys.platform == "linux":
        os.sched_setaffinity(0, cores)


def describe_machine(cores: Cores | None = None) -> Machine:
    """The machine of this process; without `cores`, nothing is pinned."""
    cores = cores or Cores(len(usable_cores()))
    return Machine(
        cpu=_cpu(),
        int8_instructions=int8_instructions(),
        cores=cores.count,
        work_cores=tuple(sorted(cores.work)),
        client_cores=tuple(sorted(cores.clients)),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        onnxruntime=_version("onnxruntime-gpu") or _version("onnxruntime"),
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
    command = ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"]
    try:
        return subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):  # no git, or no repository
        return ""
