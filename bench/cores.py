"""Who runs on which core, so that clients do not take from the server what the bare loop had to itself."""

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cores:
    """How the machine is shared."""

    count: int
    """Cores there are."""
    work: frozenset[int] = frozenset()
    """For bare loop, engine and server; empty: wherever the system puts them."""
    clients: frozenset[int] = frozenset()
    """For the clients of the service; empty likewise."""


def usable_cores() -> frozenset[int]:
    """The cores that this process may run on."""
    if sys.platform == "linux":
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def share_cores(usable: Iterable[int], threads: int) -> Cores:
    """Give `threads` cores to the work and the others to the clients; nobody is held where none would be left."""
    ranked = sorted(usable)
    if sys.platform != "linux" or threads >= len(ranked):
        return Cores(len(ranked))
    return Cores(len(ranked), frozenset(ranked[:threads]), frozenset(ranked[threads:]))


def keep_to(cores: frozenset[int]) -> None:
    """Hold this process, and those that it starts from now on, to the cores; to all if there are none."""
    if cores and sys.platform == "linux":
        os.sched_setaffinity(0, cores)
