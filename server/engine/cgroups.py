"""The control groups of this process, version 1 or 2, which bound its CPU time and its memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

CGROUPS: Final = Path("/sys/fs/cgroup")
MEMBERSHIP: Final = Path("/proc/self/cgroup")


def group_folders(
    controller: str, cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP
) -> Iterator[tuple[int, Path]]:
    """Version and folder of the process's groups under a controller, and of all groups around them.

    Args:
        controller: such as `cpu` or `memory`.
        cgroups: where the control groups are mounted.
        membership: the file that says which groups this process is in.
    """
    for line in (read_text(membership) or "0::/").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        # In a container the path may be the host's, and only the mount's own root is there.
        mount = cgroups / controllers
        group = mount / path.strip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(mount):
                break
            yield (1 if controllers else 2), folder


def read_text(path: Path) -> str:
    """The file's text without space around it; empty where it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
