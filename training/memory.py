"""Memory that this process may use, and a bound on what a process takes."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from server.engine.cgroups import CGROUPS, MEMBERSHIP, group_folders, read_text

_MEMORY_INFO: Final = Path("/proc/meminfo")
_STATUS: Final = Path("/proc/self/status")
_KILL_ORDER: Final = Path("/proc/self/oom_score_adj")
_KILLED_FIRST: Final = "1000"  # the highest there is


def available_memory(
    memory_info: Path = _MEMORY_INFO, cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP
) -> int | None:
    """Bytes that can still be taken, by the system and by the control groups; None where nothing says so.

    Args:
        memory_info: the system's own figures.
        cgroups: where the control groups are mounted.
        membership: the file that says which groups this process is in.
    """
    kilobytes = _field(memory_info, "MemAvailable:")
    bounds = [] if kilobytes is None else [kilobytes * 1024]
    return min([*bounds, *_left_in_groups(cgroups, membership)], default=None)


def bound_memory(extra_bytes: int) -> None:
    """Let this process take so many bytes more than it has; then allocation fails with `MemoryError`.

    Only private memory counts, not address space: libraries reserve much of that without using it. Linux alone keeps
    the bound; elsewhere nothing happens.
    """
    if sys.platform == "linux":
        import resource

        taken = (_field(_STATUS, "VmData:") or 0) * 1024
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        bound = taken + extra_bytes
        if hard != resource.RLIM_INFINITY:
            bound = min(bound, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))


def offer_to_be_killed() -> None:
    """Let the kernel end this process before others when memory is short; Linux alone knows such an order."""
    with suppress(OSError):
        _KILL_ORDER.write_text(_KILLED_FIRST)


def _left_in_groups(cgroups: Path, membership: Path) -> Iterator[int]:
    for version, folder in group_folders("memory", cgroups, membership):
        if version == 1:
            names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        else:
            names = "memory.max", "memory.current", "inactive_file"
        limit, usage = (read_text(folder / name) for name in names[:2])
        if limit.isdecimal() and usage.isdecimal():
            cached = _field(folder / "memory.stat", names[2]) or 0  # pages of files, which the kernel gives back
            yield max(0, int(limit) - int(usage) + cached)


def _field(path: Path, name: str) -> int | None:
    """The number that follows a name at the beginning of a line."""
    for line in read_text(path).splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == name:
            with suppress(ValueError):
                return int(words[1])
    return None
