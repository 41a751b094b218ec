import os
import subprocess
import sys

import pytest
import torch

from server.engine.threads import Cpu
from training import threads as threads_module
from training.config import Config, load_config
from training.threads import choose_threads, usable_threads, use_threads


def config(name: str = "chorales", **changes: str) -> Config:
    return load_config(name, {key.replace("_", ".", 1): value for key, value in changes.items()})


@pytest.mark.parametrize(
    ("cores", "limit", "processes", "threads"),
    [(8, None, 1, 4), (3, None, 1, 3), (8, 2.5, 1, 2), (8, 0.5, 1, 1), (8, None, 4, 2), (1, None, 1, 1)],
)
def test_a_training_takes_no_more_threads_than_its_share_of_the_machine(
    cores: int, limit: float | None, processes: int, threads: int
) -> None:
    wide = config(network_hidden="512", training_lanes="16")  # of 16.8 million multiply-adds a step and layer
    assert choose_threads(wide, Cpu(cores, limit), processes=processes) == threads


def test_a_small_network_takes_one_thread_and_a_large_one_several() -> None:
    machine = Cpu(64)
    assert choose_threads(config("smoke"), machine) == 1
    assert choose_threads(config("chorales"), machine) == 1
    assert choose_threads(config("piano"), machine) == 4


def test_what_is_asked_for_is_taken_and_openmp_s_own_variable_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        assert use_threads(3, config()) == torch.get_num_threads() == 3
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        assert use_threads(0, config()) == torch.get_num_threads() == 3, "PyTorch has read it when it was imported"
        monkeypatch.delenv("OMP_NUM_THREADS")
        assert use_threads(0, config("smoke")) == torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("given", "policy"), [(None, "passive"), ("active", "active")])
def test_threads_sleep_while_they_wait_unless_somebody_has_decided(given: str | None, policy: str) -> None:
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


def test_an_evaluation_takes_the_cores_that_it_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads_module, "read_cpu", lambda: Cpu(8, 2.5))
    assert usable_threads() == 2
    monkeypatch.setattr(threads_module, "read_cpu", lambda: Cpu(8, 0.5))
    assert usable_threads() == 1
