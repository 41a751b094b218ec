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
_BYTE_PRODUCTS: Final = {"avx512_vnni", "avx_vnni", "avx2", "asimddp"}
"""What Linux calls instructions with which ONNX Runtime multiplies bytes: AVX-512 VNNI, AVX-VNNI and Arm's SDOT sum
four products at once, AVX2 two."""


def decode_graphs(bundle: Bundle, precision: Precision) -> dict[int, str]:
    """The bundle's decode graphs of a precision by their steps; empty if it has none."""
    graphs = bundle.manifest.graphs
    return graphs.decode if precision == "float32" else graphs.decode_int8


def chosen_precision(bundle: Bundle, wanted: Literal["auto"] | Precision, *, cpu: bool) -> Precision:
    """The precision to run a bundle in.

    `auto` is int8 on a CPU that multiplies bytes many at a time, if the bundle has it. Whoever asks for int8 gets it on
    any CPU: the weights are small enough that no kernel of ONNX Runtime's overflows, so all of them sum exactly.

    Args:
        bundle: what runs.
        wanted: what was asked for.
        cpu: whether a CPU runs it.

    Raises:
        PrecisionUnavailableError: int8 was asked for, and the bundle or the provider has it not.
    """
    lacking = None
    if not decode_graphs(bundle, "int8"):
        lacking = f"bundle {bundle.name} has no int8 graphs: export it anew"
    elif not cpu:
        lacking = "int8 runs on CPUs alone: choose --provider cpu, or float32"
    if wanted == "int8" and lacking is not None:
        raise PrecisionUnavailableError(f"precision int8 was asked for, but {lacking}")
    if wanted == "auto":
        return "int8" if lacking is None and multiplies_bytes() else "float32"
    return wanted


def multiplies_bytes(cpu_info: Path = CPU_INFO) -> bool:
    """Whether the CPU multiplies bytes faster than floats; where nothing says so, it does not."""
    if platform.machine().lower() in _ARM and platform.system() == "Darwin":
        return True  # every Apple processor for desktops has them
    return bool(byte_products(cpu_info))


def byte_products(cpu_info: Path = CPU_INFO) -> tuple[str, ...]:
    """Instructions that the CPU multiplies bytes with, as Linux calls them, sorted; none where nothing names any."""
    if platform.machine().lower() not in (*_X86, *_ARM):
        return ()
    try:
        lines = cpu_info.read_text().splitlines()
    except OSError:
        return ()
    flags = (line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features")))
    return tuple(sorted(_BYTE_PRODUCTS & set(next(flags, ()))))
