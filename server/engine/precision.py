"""Which arithmetic a model runs in on this machine."""

import platform
from pathlib import Path
from typing import Final, Literal

from music.bundle import Bundle
from server.engine.errors import PrecisionUnavailableError

Precision = Literal["float32", "int8"]

CPU_INFO: Final = Path("/proc/cpuinfo")
_X86: Final = ("x86_64", "amd64")
_ARM: Final = ("aarch64", "arm64")
_DOT_PRODUCTS: Final = {"avx512_vnni", "avx_vnni", "asimddp"}
"""What Linux calls instructions that sum four products of bytes in 32 bits: AVX-512 VNNI, AVX-VNNI, Arm's SDOT."""


def decode_graphs(bundle: Bundle, precision: Precision) -> dict[int, str]:
    """The bundle's decode graphs of a precision by their steps; empty if it has none."""
    graphs = bundle.manifest.graphs
    return graphs.decode if precision == "float32" else graphs.decode_int8


def chosen_precision(bundle: Bundle, wanted: Literal["auto"] | Precision, *, cpu: bool) -> Precision:
    """The precision to run a bundle in.

    `auto` is int8 on a CPU that multiplies bytes with dot-product instructions, if the bundle has it. Other x86 CPUs
    would be little faster in int8 and, worse, sum pairs of products in 16 bits, which may overflow: the same request
    could give other bytes there.

    Args:
        bundle: what runs.
        wanted: what was asked for.
        cpu: whether a CPU runs it.

    Raises:
        PrecisionUnavailableError: int8 was asked for, and the bundle, the provider or the CPU has it not.
    """
    lacking = None
    if not decode_graphs(bundle, "int8"):
        lacking = f"bundle {bundle.name} has no int8 graphs: export it anew"
    elif not cpu:
        lacking = "int8 runs on CPUs alone: choose --provider cpu, or float32"
    elif not has_dot_products():
        lacking = "this CPU has no dot products of bytes (AVX-512 VNNI, AVX-VNNI, Arm SDOT): choose float32"
    if wanted == "int8" and lacking is not None:
        raise PrecisionUnavailableError(f"precision int8 was asked for, but {lacking}")
    return "float32" if wanted == "float32" or lacking is not None else "int8"


def has_dot_products(cpu_info: Path = CPU_INFO) -> bool:
    """Whether the CPU sums products of bytes exactly and fast; where nothing says so, it does not."""
    machine = platform.machine().lower()
    if machine in _ARM and platform.system() == "Darwin":
        return True  # every Apple processor for desktops has them
    if machine not in (*_X86, *_ARM):
        return False
    try:
        lines = cpu_info.read_text().splitlines()
    except OSError:
        return False
    flags = (line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features")))
    return bool(_DOT_PRODUCTS & set(next(flags, ())))
