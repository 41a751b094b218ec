from pathlib import Path

import pytest

from runtime.memory import free_memory

MEMINFO = "MemTotal:  8000000 kB\nMemAvailable:  2000 kB\n"


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


@pytest.fixture
def free(tmp_path: Path) -> int | None:
    return free_memory(tmp_path / "cgroups", tmp_path / "membership", tmp_path / "meminfo")


@pytest.fixture
def version_2(tmp_path: Path) -> None:
    (tmp_path / "membership").write_text("0::/pod/server\n")
    write(tmp_path / "cgroups" / "pod", memory__max="1000000", memory__current="400000", memory__stat="inactive_file 0")
    write(
        tmp_path / "cgroups" / "pod" / "server",
        memory__max="900000",
        memory__current="500000",
        memory__stat="anon 1\ninactive_file 100000\nactive_file 9\n",
    )


@pytest.fixture
def version_1(tmp_path: Path) -> None:
    (tmp_path / "membership").write_text("4:memory:/\n")
    write(
        tmp_path / "cgroups" / "memory",
        memory__limit_in_bytes="700000",
        memory__usage_in_bytes="400000",
        memory__stat="inactive_file 5\ntotal_inactive_file 50000\n",
    )


@pytest.fixture
def unlimited(tmp_path: Path) -> None:
    (tmp_path / "membership").write_text("0::/\n")
    write(tmp_path / "cgroups", memory__max="max", memory__current="400000")
    (tmp_path / "meminfo").write_text(MEMINFO)


@pytest.fixture
def over(tmp_path: Path) -> None:
    (tmp_path / "membership").write_text("0::/\n")
    write(tmp_path / "cgroups", memory__max="1000", memory__current="2000")


@pytest.mark.usefixtures("version_2")
def test_the_smallest_rest_of_all_groups_counts_and_dropped_pages_are_free(free: int | None) -> None:
    assert free == 500_000


@pytest.mark.usefixtures("version_1")
def test_groups_of_version_1(free: int | None) -> None:
    assert free == 350_000


@pytest.mark.usefixtures("unlimited")
def test_without_a_limit_the_machine_counts(free: int | None) -> None:
    assert free == 2_048_000


@pytest.mark.usefixtures("over")
def test_it_is_never_negative(free: int | None) -> None:
    assert free == 0


def test_nothing_is_known_where_nothing_can_be_read(tmp_path: Path) -> None:
    assert free_memory(tmp_path, tmp_path / "none", tmp_path / "none") is None


def test_this_machine_has_free_memory() -> None:
    assert free_memory() != 0
