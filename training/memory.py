"""Available memory, and limits on the memory of a process."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from runtime.cgroups import CGROUPS, MEMBERSHIP, group_folders, read_text

_MEMORY_INFO: Final = Path("/proc/meminfo")
_STATUS: Final = Path("/proc/self/status")
_KILL_ORDER: Final = Path("/proc/self/oom_score_adj")
_KILLED_FIRST: Final = "1000"  # the highest value


def available_memory(
    memory_info: Path = _MEMORY_INFO, cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP
) -> int | None:
    """Bytes that this process can still allocate, by the system and its control groups. None if neither is known.

    Args:
        memory_info: file with the system's figures.
        cgroups: mount point of the control groups.
        membership: file with the groups of this process.
    """
    kilobytes = _field(memory_info, "MemAvailable:")
    bounds = [] if kilobytes is None else [kilobytes * 1024]
    return min([*bounds, *_left_in_groups(cgroups, membership)], default=None)


def limit_memory(extra_bytes: int) -> None:
    """Limit this process to so many more bytes than it has now. Beyond them, allocation raises `MemoryError`.

    The limit counts private memory, not address space, of which libraries reserve much without using it. It works on
    Linux only; elsewhere this function does nothing.
    """
    if sys.platform == "linux":
        import resource

        taken = (_field(_STATUS, "VmData:") or 0) * 1024
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        bound = taken + extra_bytes
        if hard != resource.RLIM_INFINITY:
            bound = min(bound, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))


def prefer_oom_kill() -> None:
    """On Linux, let the kernel kill this process before others when memory runs out."""
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
            cached = _field(folder / "memory.stat", names[2]) or 0  # cached file pages, which the kernel can free
            yield max(0, int(limit) - int(usage) + cached)


def _field(path: Path, name: str) -> int | None:
    """The number after a name at the start of a line."""
    for line in read_text(path).splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == name:
            with suppress(ValueError):
                return int(words[1])
    return None
