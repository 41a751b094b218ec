import os
import sys
import threading
from pathlib import Path

import pytest

import server.engine.threads
from server.engine.threads import Cpu, choose_threads, may_spin, read_cpu, yield_to_others


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty file system, on a host of 32 cores."""
    monkeypatch.setattr(server.engine.threads, "_cores", lambda: 32)
    return tmp_path


def limit(root: Path, membership: str, **groups: str) -> float | None:
    """The limit read where `groups` are files by their path, `__` for a slash and `_dot_` for a dot."""
    for name, text in groups.items():
        path = root / "cgroup" / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    (root / "membership").write_text(membership)
    cpu = read_cpu(root / "cgroup", root / "membership")
    assert cpu.cores == 32
    return cpu.limit


def test_version_2_in_a_container(files: Path) -> None:
    assert limit(files, "0::/\n", cpu_dot_max="150000 100000") == 1.5


def test_version_2_without_a_limit(files: Path) -> None:
    assert limit(files, "0::/\n", cpu_dot_max="max 100000") is None


def test_version_2_takes_the_narrowest_of_the_groups_around(files: Path) -> None:
    found = limit(
        files,
        "0::/pods/one/server\n",
        pods__cpu_dot_max="400000 100000",
        pods__one__cpu_dot_max="100000 50000",
        pods__one__server__cpu_dot_max="max 100000",
        pods__other__cpu_dot_max="10000 100000",
    )
    assert found == 2.0


@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct", "cpuacct,cpu"])
def test_version_1_beside_an_empty_version_2(files: Path, controllers: str) -> None:
    files_of = {f"{controllers}__cpu_dot_cfs_quota_us": "300000", f"{controllers}__cpu_dot_cfs_period_us": "100000"}
    assert limit(files, f"3:cpuset:/\n2:{controllers}:/host/pods/one\n0::/\n", **files_of) == 3.0


def test_version_1_without_a_limit(files: Path) -> None:
    assert limit(files, "1:cpu:/\n", cpu__cpu_dot_cfs_quota_us="-1", cpu__cpu_dot_cfs_period_us="100000") is None


@pytest.mark.parametrize("text", ["", "max", "many 100000", "100000", "100000 0", "0 100000"])
def test_what_makes_no_sense_limits_nothing(files: Path, text: str) -> None:
    assert limit(files, "nonsense\n0::/\n", cpu_dot_max=text) is None


def test_without_control_groups_the_cores_count(files: Path) -> None:
    assert read_cpu(files / "none", files / "none either") == Cpu(32, None)


def test_the_machine_that_runs_this_can_be_read() -> None:
    cpu = read_cpu()
    assert cpu.cores >= 1
    assert 0 < cpu.share <= cpu.cores


@pytest.mark.parametrize(
    ("cpu", "models", "parameters", "count"),
    [
        (Cpu(64), 1, 2_000_000, 1),  # too small to share out
        (Cpu(64), 1, 8_000_000, 2),
        (Cpu(64), 1, 10**9, 63),  # one is the wire's
        (Cpu(64, 4.0), 1, 10**9, 3),
        (Cpu(64, 3.9), 1, 10**9, 2),
        (Cpu(64, 0.5), 1, 10**9, 1),
        (Cpu(2, 16.0), 1, 10**9, 1),
        (Cpu(64, 9.0), 2, 10**9, 4),
        (Cpu(1), 3, 10**9, 1),
    ],
)
def test_a_model_takes_what_its_size_and_the_limit_leave_it(cpu: Cpu, models: int, parameters: int, count: int) -> None:
    assert choose_threads(0, cpu, models=models, parameters=parameters) == count


def test_what_is_asked_for_is_taken() -> None:
    assert choose_threads(3, Cpu(2, 0.5), models=2, parameters=1) == 3


@pytest.mark.parametrize(
    ("threads", "cpu", "spinning"),
    [
        (1, Cpu(8), False),  # nobody there to spin
        (2, Cpu(8), True),
        (7, Cpu(8), True),
        (8, Cpu(8), False),  # the wire would have to wait for one that spins
        (2, Cpu(8, 4.0), False),
        (2, Cpu(1), False),
    ],
)
def test_only_those_spin_whose_cores_nobody_else_needs(threads: int, cpu: Cpu, spinning: bool) -> None:
    assert may_spin(threads, cpu) is spinning


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a priority is the whole process's")
def test_a_thread_that_yields_does_so_alone() -> None:
    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def yielding() -> None:
        yield_to_others()
        found.append(priority())

    before, found = priority(), list[int]()
    thread = threading.Thread(target=yielding)
    thread.start()
    thread.join()
    assert priority() == before
    assert found == [max(before, 10)]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a priority is the whole process's")
def test_where_yielding_is_forbidden_the_thread_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(which: int, who: int, priority: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", forbidden)
    yield_to_others()
