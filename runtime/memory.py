"""How much memory this process may still take: within its control groups, and on the machine."""

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from runtime.cgroups import CGROUPS, MEMBERSHIP, group_folders, read_text

_MACHINE: Final = Path("/proc/meminfo")
_USAGE: Final = {1: ("memory.limit_in_bytes", "memory.usage_in_bytes"), 2: ("memory.max", "memory.current")}
_RECLAIMABLE: Final = {1: "total_inactive_file", 2: "inactive_file"}


def free_memory(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP, machine: Path = _MACHINE) -> int | None:
    """Bytes that this process may still allocate before a limit is reached; None if no limit can be read.

    Pages of files that the kernel can drop count as free.

    Args:
        cgroups: mount point of the control groups.
        membership: the file that lists the groups of this process.
        machine: the file with the memory of the machine.
    """
    return min([*_in_groups(cgroups, membership), *_on_machine(machine)], default=None)


def return_free_memory() -> None:
    """Give memory that was freed back to the system; does nothing with another C library than glibc.

    The sessions of a model have large and small blocks. Where a small one stays, glibc keeps the large ones around it:
    after ten models of 170 MB, one after another, the process held 600 MB, and 330 MB with this call after each.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _in_groups(cgroups: Path, membership: Path) -> Iterator[int]:
    for version, folder in group_folders("memory", cgroups, membership):
        limit, usage = (read_text(folder / name) for name in _USAGE[version])
        if limit.isdecimal() and usage.isdecimal():
            found = re.search(rf"^{_RECLAIMABLE[version]} (\d+)$", read_text(folder / "memory.stat"), re.MULTILINE)
            yield max(int(limit) - int(usage) + (int(found[1]) if found else 0), 0)


def _on_machine(machine: Path) -> Iterator[int]:
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", read_text(machine), re.MULTILINE)
    if found:
        yield int(found[1]) * 1024
