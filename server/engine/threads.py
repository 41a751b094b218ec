"""How many threads a model's runs may take: chosen for what this process may use, not for what the host has.

A pod's CPU limit is a quota of time: who uses it up early, on however many of the host's cores, is stopped until the
period's end, the event loop included. So

* no model gets a thread beyond the limit, and one core's worth is left to the wire; first tokens, one short run for
  every piece, are found by a thread of their own, which is part of that (`server.engine.usher`);
* a model gets a second thread only where it is large. On two cores that others used as well, two threads took 0.9 to
  4.6 times as long as one for two layers of 256 to 1024 units at widths 1 and 64, and up to 1.7 times the processor
  time; a replica takes twice and gives twice. That large networks gain on cores of their own is a guess so far;
* threads that wait for work do not spin where anybody else may need the time. On the same cores, of two threads, it
  made a run slower in five cases of six (up to 2.4 times), and cost up to 1.4 times the processor time;
* nothing is pinned. Told no number, ONNX Runtime takes a thread for each of the host's cores and pins it there; told
  one, it leaves the choice of cores to the system.

The threads change nothing in the results: ONNX Runtime divides rows and columns of a product among them, never a sum.
"""

import math
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from server.engine.cgroups import CGROUPS, MEMBERSHIP, group_folders, read_text

_NICENESS: Final = 10  # of 19; about a tenth of the time that an equal would get, and it is preempted at once
_PARAMETERS_A_THREAD: Final = 4_000_000  # so the networks that ship, of up to two million, run in one


@dataclass(frozen=True, slots=True)
class Cpu:
    """What this process may use of the machine."""

    cores: int
    """Cores that it may run on."""
    limit: float | None = None
    """Cores' worth of time that it may take; None where it may take all of theirs."""

    @property
    def share(self) -> float:
        """Cores' worth of time in the end."""
        return self.cores if self.limit is None else min(self.cores, self.limit)


def yield_to_others() -> None:
    """Let other threads of this process go first from now on, whenever they have something to do.

    Called by a thread that computes without end. Where it shares a core with the event loop, whoever calls would else
    wait until the system takes the core away from it, some milliseconds at every turn of the way.
    """
    if sys.platform == "linux":  # elsewhere a priority is the whole process's
        own = threading.get_native_id()
        with suppress(OSError):  # where a sandbox forbids it, it goes on as before
            os.setpriority(os.PRIO_PROCESS, own, max(os.getpriority(os.PRIO_PROCESS, own), _NICENESS))


def choose_threads(asked: int, cpu: Cpu, *, models: int, parameters: int) -> int:
    """Choose how many threads a run of one model takes, the engine's own included; at least 1.

    Args:
        asked: what the operator wants, taken as it is; 0 to have it chosen.
        cpu: what the process may use.
        models: how many share it.
        parameters: the model's size.
    """
    for_models = math.floor(cpu.share) - 1  # the wire has the other one
    return asked or max(1, min(for_models // models, parameters // _PARAMETERS_A_THREAD))


def may_spin(threads: int, cpu: Cpu) -> bool:
    """Whether threads that wait for work may keep a core busy, to begin the sooner: where no one else needs it."""
    return 1 < threads < cpu.cores and cpu.limit is None


def read_cpu(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> Cpu:
    """What the system lets this process use: its affinity, and the quota of its control groups, version 1 or 2.

    Args:
        cgroups: where the control groups are mounted.
        membership: the file that says which this process is in.
    """
    limits = [limit for limit in _limits(cgroups, membership) if limit > 0]
    return Cpu(_cores(), min(limits, default=None))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _limits(cgroups: Path, membership: Path) -> Iterator[float]:
    """The limits of the process's groups and of all groups around them; what cannot be read limits nothing."""
    for version, folder in group_folders("cpu", cgroups, membership):
        if version == 1:
            quota, period = read_text(folder / "cpu.cfs_quota_us"), read_text(folder / "cpu.cfs_period_us")
        else:
            quota, _, period = read_text(folder / "cpu.max").partition(" ")
        if quota.isdecimal() and period.isdecimal() and int(period):
            yield int(quota) / int(period)
