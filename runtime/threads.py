"""How many threads a model's runs use: chosen for what this process may use, not for what the host has.

A pod's CPU limit is a quota of time. A process that uses its quota up early, on however many cores, is stopped until
the end of the period, with its event loop. Therefore:

* The threads of all models together stay below the limit by one core, which is left to the event loop. The thread that
  decodes first tokens (`server.engine.admission_worker`) is part of that core.
* A model gets a second thread only if it is large. On two cores that other processes used as well, two threads took 0.9
  to 4.6 times as long as one for two layers of 256 to 1024 units at batch sizes 1 and 64, and up to 1.7 times the
  processor time. A second replica takes twice the processor time and doubles the throughput. Whether large
  networks gain from dedicated cores was not measured.
* Threads that wait for work do not spin if another thread may need the core. On the same two cores, spinning made runs
  with two threads slower in five cases of six, up to 2.4 times, and cost up to 1.4 times the processor time.
* No thread is pinned. Without a number of threads, ONNX Runtime starts one for each core of the host and pins it. With
  a number, it leaves the cores to the system.

The number of threads does not change results: ONNX Runtime divides rows and columns of a product among threads, never a
sum.
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

from runtime.cgroups import CGROUPS, MEMBERSHIP, group_folders, read_text

_PARAMETERS_PER_THREAD: Final = 4_000_000  # the shipped networks, with up to two million, run in one thread


@dataclass(frozen=True, slots=True)
class CpuBudget:
    """The CPU time that this process may use."""

    cores: int
    """Cores that the process may run on."""
    limit: float | None = None
    """CPU quota in cores; None without a quota."""

    @property
    def share(self) -> float:
        """The smaller of both, in cores."""
        return self.cores if self.limit is None else min(self.cores, self.limit)


def let_other_threads_preempt(niceness: int = 0) -> None:
    """Let threads that wake up preempt the calling thread at once, without a smaller share of the processor for it.

    A thread that computes all the time calls it. Otherwise, if it shares a core with the event loop, a step of a
    request may wait some milliseconds until the system preempts this thread. Linux calls the policy SCHED_BATCH
    (sched(7)); it needs no privilege. A lower priority (a higher nice value) would give way to all other processes of
    the machine too: beside two busy processes on its core, an engine at nice 10 gets a twentieth of the time. Does
    nothing where the system has no such policy or forbids it.

    Args:
        niceness: at least this nice value, for work that may take longer than other work: at 5, the thread gets a third
            of the time of a thread at 0.
    """
    if sys.platform == "linux":  # on other systems a priority belongs to the process
        thread = threading.get_native_id()
        with suppress(OSError):  # a sandbox may forbid it
            os.sched_setscheduler(thread, os.SCHED_BATCH, os.sched_param(0))
            os.setpriority(os.PRIO_PROCESS, thread, max(os.getpriority(os.PRIO_PROCESS, thread), niceness))


def choose_threads(requested: int, cpu: CpuBudget, *, models: int, parameters: int) -> int:
    """The number of threads of one run of a model, the engine's own thread included; at least 1.

    Args:
        requested: the operator's choice; 0 to choose here.
        cpu: what the process may use.
        models: number of models that share it.
        parameters: number of trained parameters of the model.
    """
    for_models = math.floor(cpu.share) - 1  # one core is left to the event loop
    return requested or max(1, min(for_models // models, parameters // _PARAMETERS_PER_THREAD))


def may_spin(threads: int, cpu: CpuBudget) -> bool:
    """Whether threads that wait for work may spin, which starts them sooner: only if no other thread needs the core."""
    return 1 < threads < cpu.cores and cpu.limit is None


def read_cpu_budget(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> CpuBudget:
    """Read what this process may use: its CPU affinity and the quotas of its control groups, version 1 or 2.

    Args:
        cgroups: mount point of the control groups.
        membership: the file that lists the groups of this process.
    """
    limits = [limit for limit in _limits(cgroups, membership) if limit > 0]
    return CpuBudget(_cores(), min(limits, default=None))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _limits(cgroups: Path, membership: Path) -> Iterator[float]:
    """The quotas, in cores, of the process's groups and all parent groups; unreadable ones are skipped."""
    for version, folder in group_folders("cpu", cgroups, membership):
        if version == 1:
            quota, period = read_text(folder / "cpu.cfs_quota_us"), read_text(folder / "cpu.cfs_period_us")
        else:
            quota, _, period = read_text(folder / "cpu.max").partition(" ")
        if quota.isdecimal() and period.isdecimal() and int(period):
            yield int(quota) / int(period)
