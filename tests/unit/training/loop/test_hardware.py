import os
import subprocess
import sys

import pytest
import torch

from runtime.threads import CpuBudget
from training.config import Config, load_config
from training.loop import hardware as hardware_module
from training.loop.hardware import choose_threads, set_threads, usable_threads


def config(name: str = "chorales", **changes: str) -> Config:
    return load_config(name, {key.replace("_", ".", 1): value for key, value in changes.items()})


@pytest.mark.parametrize(
    ("cores", "limit", "processes", "threads"),
    [(8, None, 1, 4), (3, None, 1, 3), (8, 2.5, 1, 2), (8, 0.5, 1, 1), (8, None, 4, 2), (1, None, 1, 1)],
)
def test_a_training_takes_no_more_threads_than_its_share_of_the_machine(
    cores: int, limit: float | None, processes: int, threads: int
) -> None:
    wide = config(network_hidden="512", training_batch_size="16")  # of 16.8 million multiply-adds a step and layer
    assert choose_threads(wide, CpuBudget(cores, limit), processes=processes) == threads


def test_a_small_network_takes_one_thread_and_a_large_one_several() -> None:
    machine = CpuBudget(64)
    assert choose_threads(config("smoke"), machine) == 1
    assert choose_threads(config("chorales"), machine) == 1
    assert choose_threads(config("piano"), machine) == 3


def test_requested_threads_and_openmps_variable_are_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        assert set_threads(3, config()) == torch.get_num_threads() == 3
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        assert set_threads(0, config()) == torch.get_num_threads() == 3, "PyTorch has read it when it was imported"
        monkeypatch.delenv("OMP_NUM_THREADS")
        assert set_threads(0, config("smoke")) == torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize(("given", "policy"), [(None, "passive"), ("active", "active")])
def test_waiting_threads_sleep_unless_the_environment_sets_a_policy(given: str | None, policy: str) -> None:
    """PyTorch reads the variable when it is imported, so it has to be there before."""
    script = (
        "import sys, os; from click.testing import CliRunner; from training.__main__ import main; "
        "assert 'torch' not in sys.modules; "
        "CliRunner().invoke(main, ['train', '--corpus', 'x', '--run', 'y', '--threads', 'many']); "
        "print(os.environ['OMP_WAIT_POLICY'])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if given is not None:
        environment["OMP_WAIT_POLICY"] = given
    done = subprocess.run(  # noqa: S603  # our own script
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment
    )
    assert done.stdout.split() == [policy], done.stderr


def test_an_evaluation_uses_the_usable_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware_module, "read_cpu_budget", lambda: CpuBudget(8, 2.5))
    assert usable_threads() == 2
    monkeypatch.setattr(hardware_module, "read_cpu_budget", lambda: CpuBudget(8, 0.5))
    assert usable_threads() == 1
