import os
import sys
import threading
from pathlib import Path

import pytest

import runtime.threads
from runtime.threads import CpuBudget, choose_threads, let_other_threads_preempt, may_spin, read_cpu_budget


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty file system, on a host of 32 cores."""
    monkeypatch.setattr(runtime.threads, "_cores", lambda: 32)
    return tmp_path


def limit(root: Path, membership: str, **groups: str) -> float | None:
    """The limit with control-group files `groups`, by path, with `__` for a slash and `_dot_` for a dot."""
    for name, text in groups.items():
        path = root / "cgroup" / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    (root / "membership").write_text(membership)
    cpu = read_cpu_budget(root / "cgroup", root / "membership")
    assert cpu.cores == 32
    return cpu.limit


def test_version_2_in_a_container(files: Path) -> None:
    assert limit(files, "0::/\n", cpu_dot_max="150000 100000") == 1.5


def test_version_2_without_a_limit(files: Path) -> None:
    assert limit(files, "0::/\n", cpu_dot_max="max 100000") is None


def test_version_2_uses_the_smallest_quota_of_all_parents(files: Path) -> None:
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
def test_invalid_quotas_are_ignored(files: Path, text: str) -> None:
    assert limit(files, "nonsense\n0::/\n", cpu_dot_max=text) is None


def test_without_control_groups_there_is_no_quota(files: Path) -> None:
    assert read_cpu_budget(files / "none", files / "none either") == CpuBudget(32, None)


def test_the_budget_of_this_machine_is_readable() -> None:
    cpu = read_cpu_budget()
    assert cpu.cores >= 1
    assert 0 < cpu.share <= cpu.cores


@pytest.mark.parametrize(
    ("cpu", "models", "parameters", "count"),
    [
        (CpuBudget(64), 1, 2_000_000, 1),  # too small to share out
        (CpuBudget(64), 1, 8_000_000, 2),
        (CpuBudget(64), 1, 10**9, 63),  # one core is left to the event loop
        (CpuBudget(64, 4.0), 1, 10**9, 3),
        (CpuBudget(64, 3.9), 1, 10**9, 2),
        (CpuBudget(64, 0.5), 1, 10**9, 1),
        (CpuBudget(2, 16.0), 1, 10**9, 1),
        (CpuBudget(64, 9.0), 2, 10**9, 4),
        (CpuBudget(1), 3, 10**9, 1),
    ],
)
def test_threads_follow_size_and_limit(cpu: CpuBudget, models: int, parameters: int, count: int) -> None:
    assert choose_threads(0, cpu, models=models, parameters=parameters) == count


def test_a_requested_number_of_threads_is_used() -> None:
    assert choose_threads(3, CpuBudget(2, 0.5), models=2, parameters=1) == 3


@pytest.mark.parametrize(
    ("threads", "cpu", "spinning"),
    [
        (1, CpuBudget(8), False),  # one thread never waits
        (2, CpuBudget(8), True),
        (7, CpuBudget(8), True),
        (8, CpuBudget(8), False),  # the event loop would wait for a spinning thread
        (2, CpuBudget(8, 4.0), False),
        (2, CpuBudget(1), False),
    ],
)
def test_threads_spin_only_on_spare_cores(threads: int, cpu: CpuBudget, spinning: bool) -> None:
    assert may_spin(threads, cpu) is spinning


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such policy")
@pytest.mark.parametrize("niceness", [0, 5])
def test_only_the_calling_thread_lets_others_preempt_it(niceness: int) -> None:
    def scheduling() -> tuple[int, int]:
        thread = threading.get_native_id()
        return os.sched_getscheduler(thread), os.getpriority(os.PRIO_PROCESS, thread)

    def change() -> None:
        let_other_threads_preempt(niceness)
        found.append(scheduling())

    before, found = scheduling(), list[tuple[int, int]]()
    thread = threading.Thread(target=change)
    thread.start()
    thread.join()
    assert scheduling() == before
    assert found == [(os.SCHED_BATCH, max(before[1], niceness))]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such policy")
def test_a_forbidden_policy_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(thread: int, policy: int, parameters: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", forbidden)
    let_other_threads_preempt()
