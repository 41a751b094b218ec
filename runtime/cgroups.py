"""The control groups of this process, version 1 or 2: the limits of its CPU time and memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

CGROUPS: Final = Path("/sys/fs/cgroup")
MEMBERSHIP: Final = Path("/proc/self/cgroup")


def group_folders(
    controller: str, cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP
) -> Iterator[tuple[int, Path]]:
    """Version and folder of each group of the process for a controller, and of all parent groups.

    Args:
        controller: such as `cpu` or `memory`.
        cgroups: mount point of the control groups.
        membership: the file that lists the groups of this process.
    """
    for line in (read_text(membership) or "0::/").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        # In a container the path may be that of the host, and only the root of the mount exists.
        mount = cgroups / controllers
        group = mount / path.strip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(mount):
                break
            yield (1 if controllers else 2), folder


def read_text(path: Path) -> str:
    """The file's text without surrounding space; empty if it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
