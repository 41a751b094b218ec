from pathlib import Path

import pytest

from training.memory import available_memory

MEBIBYTE = 1 << 20


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def available(root: Path) -> int | None:
    return available_memory(root / "meminfo", root / "cgroup", root / "membership")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"meminfo": "MemTotal: 9000 kB\nMemAvailable:   2048 kB"}, 2 * MEBIBYTE),
        ({"meminfo": "MemAvailable: 8192 kB", "cgroup/memory.max": "max", "cgroup/memory.current": "5"}, 8 * MEBIBYTE),
        (
            {
                "meminfo": "MemAvailable: 9999999 kB",
                "membership": "0::/pod/one",
                "cgroup/pod/memory.max": str(5 * MEBIBYTE),
                "cgroup/pod/memory.current": str(4 * MEBIBYTE),
                "cgroup/pod/memory.stat": f"anon 1\ninactive_file {2 * MEBIBYTE}",
                "cgroup/pod/one/memory.max": "max",
                "cgroup/pod/one/memory.current": "7",
            },
            3 * MEBIBYTE,
        ),
        (
            {
                "membership": "4:memory:/pod\n3:cpu:/pod",
                "cgroup/memory/pod/memory.limit_in_bytes": str(5 * MEBIBYTE),
                "cgroup/memory/pod/memory.usage_in_bytes": str(6 * MEBIBYTE),
            },
            0,
        ),
    ],
    ids=["nothing is known", "the system", "no bound", "a group around", "version 1, used up"],
)
def test_the_smallest_limit_counts(tmp_path: Path, files: dict[str, str], expected: int | None) -> None:
    write(tmp_path, files)
    assert available(tmp_path) == expected


def test_this_machine_has_memory_left() -> None:
    found = available_memory()
    assert found is None or found > MEBIBYTE
