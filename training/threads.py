"""CPU threads of a training, and how they wait for each other."""

import math
import os
from typing import Final

from server.engine.threads import Cpu, read_cpu
from training.config import Config

_WAIT: Final = "OMP_WAIT_POLICY"
_WORK_A_THREAD: Final = 4_000_000
"""Multiply-adds of one time step of a layer that are worth a thread: 2 x 256 with 16 lanes has as many, and two threads
train it no faster than one where other work shares the cores."""


def sleep_between_operations() -> None:
    """Let threads that wait for each other sleep. Has to come before PyTorch is imported, which reads it then.

    OpenMP's threads spin while they wait. On a core that another process also uses, the one that all wait for is then
    often not the one that runs. A variable that is set already is left alone.
    """
    os.environ.setdefault(_WAIT, "passive")


def usable_threads() -> int:
    """Threads that this process's share of the machine is good for, for work that divides well."""
    return max(1, math.floor(read_cpu().share))


def use_threads(asked: int, config: Config) -> int:
    """Set how many threads an operation of PyTorch takes from now on, and return the number.

    `asked` is taken as it is; 0 chooses, unless `OMP_NUM_THREADS` has chosen already.
    """
    import torch  # not above: what is above is imported before the variable is set

    if asked == 0 and "OMP_NUM_THREADS" in os.environ:
        return torch.get_num_threads()
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    threads = asked or choose_threads(config, read_cpu(), processes=processes)
    torch.set_num_threads(threads)
    return threads


def choose_threads(config: Config, cpu: Cpu, *, processes: int = 1) -> int:
    """How many threads train a network best: at least 1, at most this process's share of the cores.

    A small network has too little work in a time step to divide: the threads would wait for each other more than work.
    """
    network, lanes = config.network, config.training.lanes
    work = lanes * 4 * network.hidden * network.hidden
    share = math.floor(cpu.share / processes)
    return max(1, min(share, work // _WORK_A_THREAD))
