"""The device and the CPU threads of a training.

Import this module before PyTorch: `set_omp_wait_policy` sets a variable that PyTorch reads when it is imported.
"""

import math
import os
from typing import Final

from runtime.threads import CpuBudget, read_cpu_budget
from training.config import Config
from training.errors import ConfigurationError

_WAIT_POLICY: Final = "OMP_WAIT_POLICY"
_THREADS: Final = "OMP_NUM_THREADS"
_MULTIPLY_ADDS_PER_THREAD: Final = 4_000_000
"""Smallest work of a thread in one time step of a layer. A layer of 256 units with 16 rows has as much: on busy cores
two threads train it no faster than one."""
_BFLOAT16_UNITS: Final = 64


def set_omp_wait_policy() -> None:
    """Let OpenMP threads sleep while they wait for each other, unless the environment sets a policy.

    By default they spin. On a core that another process shares, a spinning thread delays the thread it waits for.
    """
    os.environ.setdefault(_WAIT_POLICY, "passive")


def resolve_device(device: str = "auto") -> str:
    """`cpu` or `cuda`; `auto` is `cuda` if PyTorch finds it.

    Raises:
        ConfigurationError: `cuda` is requested and not available.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("--device cuda: PyTorch finds no CUDA device here")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def trains_faster_in_bfloat16(config: Config) -> bool:
    """Whether a CPU trains this configuration faster in bfloat16 than in float32: with Intel's AMX.

    Layers of 64 to 256 units with 16 rows then take half of the processor time. Smaller ones take more.
    """
    import torch

    return config.network.hidden >= _BFLOAT16_UNITS and bool(torch.cpu._is_amx_tile_supported())


def usable_threads() -> int:
    """Number of threads for parallel work: the CPU cores that this process may use, at least 1."""
    return max(1, math.floor(read_cpu_budget().share))


def set_threads(requested: int, config: Config) -> int:
    """Set and return the number of threads of a PyTorch operation.

    Args:
        requested: the number; 0 takes `OMP_NUM_THREADS` if it is set, else the result of `choose_threads`.
        config: of the training.
    """
    import torch

    if requested == 0 and _THREADS in os.environ:
        return torch.get_num_threads()
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    threads = requested or choose_threads(config, read_cpu_budget(), processes=processes)
    torch.set_num_threads(threads)
    return threads


def choose_threads(config: Config, cpu: CpuBudget, *, processes: int = 1) -> int:
    """Number of threads for a configuration: from 1 to this process's share of the cores.

    A time step of a small network has too little work to divide: its threads would mostly wait.
    """
    hidden = config.network.hidden
    work = config.training.batch_size * 4 * hidden * hidden
    return max(1, min(math.floor(cpu.share / processes), work // _MULTIPLY_ADDS_PER_THREAD))
