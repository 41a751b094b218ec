"""The arithmetic of the decode graphs: float32 or int8, by bundle, provider and CPU."""

import platform
from pathlib import Path
from typing import Final, Literal

from music.bundle import Bundle
from runtime.errors import PrecisionUnavailableError

Precision = Literal["float32", "int8"]

CPU_INFO: Final = Path("/proc/cpuinfo")
_X86: Final = ("x86_64", "amd64")
_ARM: Final = ("aarch64", "arm64")
_INT8_INSTRUCTIONS: Final = {"avx512_vnni", "avx_vnni", "avx2", "asimddp"}
"""Linux's names of the instructions that ONNX Runtime multiplies int8 numbers with: AVX-512 VNNI, AVX-VNNI and Arm's
SDOT add four products at once, AVX2 two."""


def decode_graphs(bundle: Bundle, precision: Precision) -> dict[int, str]:
    """File names of the bundle's decode graphs of a precision, by number of steps; empty if it has none."""
    graphs = bundle.manifest.graphs
    return graphs.decode if precision == "float32" else graphs.decode_int8


def choose_precision(bundle: Bundle, requested: Literal["auto"] | Precision, *, cpu: bool) -> Precision:
    """The precision to run a bundle in.

    `auto` is int8 on a CPU with int8 instructions, if the bundle has int8 graphs. An explicit int8 runs on any CPU: the
    weights are so small that no kernel of ONNX Runtime overflows, so all kernels sum exactly.

    Args:
        bundle: the bundle to run.
        requested: the operator's choice.
        cpu: whether it runs on a CPU.

    Raises:
        PrecisionUnavailableError: int8 is requested, and the bundle or the execution provider does not support it.
    """
    missing = None
    if not decode_graphs(bundle, "int8"):
        missing = f"bundle {bundle.name} has no int8 graphs: export it again"
    elif not cpu:
        missing = "int8 runs on CPUs alone: choose --provider cpu, or float32"
    if requested == "int8" and missing is not None:
        raise PrecisionUnavailableError(f"precision int8 was requested, but {missing}")
    if requested == "auto":
        return "int8" if missing is None and has_fast_int8() else "float32"
    return requested


def has_fast_int8(cpu_info: Path = CPU_INFO) -> bool:
    """Whether the CPU multiplies int8 numbers faster than float32 numbers; False if the system does not tell."""
    if platform.machine().lower() in _ARM and platform.system() == "Darwin":
        return True  # every Apple processor for desktops
    return bool(int8_instructions(cpu_info))


def int8_instructions(cpu_info: Path = CPU_INFO) -> tuple[str, ...]:
    """The CPU's instructions for int8 products by Linux's names, sorted; empty if the system does not tell."""
    if platform.machine().lower() not in (*_X86, *_ARM):
        return ()
    try:
        lines = cpu_info.read_text().splitlines()
    except OSError:
        return ()
    flags = (line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features")))
    return tuple(sorted(_INT8_INSTRUCTIONS & set(next(flags, ()))))
