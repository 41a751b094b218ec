import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from music.tokenizers import GridTokenizer
from training.config import Config, load_config
from training.errors import ConfigurationError
from training.loop import trainer as trainer_module
from training.loop.checkpoint import LAST, save_checkpoint
from training.loop.distributed import World, local_device
from training.loop.epoch_state import EpochState
from training.loop.history import HISTORY, read_history
from training.loop.tbptt import EncodedPiece
from training.loop.trainer import Trainer
from training.network.model import State
from training.run import train

GRID = GridTokenizer(voices=2, lowest_pitch=48, highest_pitch=80)
ROOT = Path(__file__).parents[4]
SETTINGS = {
    "tokenizer.parameters.voices": "2",
    "network.dropout_between": "0",
    "network.dropout_output": "0",
    "training.batch_size": "3",  # two for the one process, one for the other
    "training.epochs": "4",
    "training.patience": "4",
}


LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
os.execv(sys.argv[2], sys.argv[2:])
"""


def settings(**changes: str) -> Config:
    return load_config("smoke", SETTINGS | {f"training.{name}": value for name, value in changes.items()})


def two_processes(corpus: Path, run: Path, *, file_bytes: int | None = None) -> "subprocess.CompletedProcess[str]":
    """The real command under torchrun; no file may grow past `file_bytes`, as none can on a full disk.

    The limit is set by a process in between: a hook before `exec` would make Python fork this one, and gRPC, where some
    other test has loaded it here, may abort the child.
    """
    sets = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--"]
    command = ["training", "train", "smoke", "--corpus", str(corpus), "--run", str(run), "--device", "cpu", *sets]
    limited = [] if file_bytes is None else [sys.executable, "-c", LIMITED, str(file_bytes)]
    return subprocess.run(  # noqa: S603  # our own command
        [*limited, *torchrun, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def alone(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("alone") / "run"
    train(settings(), small_corpus, run, device="cpu", progress=False)
    return run


def same_curves(one: Path, other: Path) -> None:
    ours, theirs = (read_history(run / HISTORY) for run in (one, other))
    assert [r.epoch for r in ours] == [r.epoch for r in theirs] == [1, 2, 3, 4]
    for name in ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "learning_rate"):
        expected = [getattr(record, name) for record in theirs]
        assert [getattr(record, name) for record in ours] == pytest.approx(expected, rel=1e-5), name


@pytest.mark.slow
def test_two_processes_give_the_loss_curve_of_one(alone: Path, small_corpus: Path, tmp_path: Path) -> None:
    result = two_processes(small_corpus, tmp_path / "run")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("best epoch") == 1, "only process 0 prints"
    assert result.stderr.count("epoch 4/4: train") == 1
    same_curves(tmp_path / "run", alone)


@pytest.mark.slow
def test_two_processes_fail_with_one_sentence_and_resume_the_run_of_one(
    alone: Path, small_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"

    def dying(path: Path, checkpoint: dict[str, Any]) -> None:
        save_checkpoint(path, checkpoint)
        if checkpoint["epoch"] == 2 and (checkpoint.get("partial") or {}).get("windows") == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer_module, "SAVE_SECONDS", 0.0)  # within the third epoch
        patch.setattr(trainer_module, "save_checkpoint", dying)
        with pytest.raises(KeyboardInterrupt):
            train(settings(), small_corpus, run, device="cpu", progress=False)
    before = (run / LAST).read_bytes()
    result = two_processes(small_corpus, run, file_bytes=10_000)
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert "(File too large). The last checkpoint" in errors[0]
    assert (run / LAST).read_bytes() == before
    result = two_processes(small_corpus, run)
    assert result.returncode == 0, result.stderr
    same_curves(run, alone)


@dataclass(frozen=True, slots=True)
class GatheredWorld(World):
    """One of several processes, with the values that the others hold."""

    parts: tuple[tuple[Any, ...], ...] = ()

    def sum(self, numbers: torch.Tensor) -> torch.Tensor:
        return numbers * self.size

    def gather(self, value: Any) -> list[Any]:
        column = 0 if isinstance(value, dict) and "cpu" in value else 1
        return [part[column] for part in self.parts]


@pytest.mark.parametrize("others", [1, 2, 3, 5])
def test_the_state_of_an_epoch_can_be_shared_by_any_number_of_processes(others: int) -> None:
    width, size = 5, 3
    h, c = torch.arange(2 * width * 4).reshape(2, width, 4).float(), torch.rand(2, width, 4)
    randoms = [torch.full((3,), rank, dtype=torch.uint8) for rank in range(size)]
    parts = tuple(
        ({"cpu": randoms[rank]}, {"h": h[:, rank::size].contiguous(), "c": c[:, rank::size].contiguous()})
        for rank in range(size)
    )
    world = GatheredWorld(torch.device("cpu"), 1, size, parts)
    partial = EpochState.start(world, 9)
    partial.windows, partial.seconds, partial.state = 4, 2.5, State(parts[1][1]["h"], parts[1][1]["c"])
    partial.totals += torch.tensor([3.0, 2.0])
    entry = partial.state_dict(world)
    assert torch.equal(entry["state"]["h"], h)
    assert torch.equal(entry["state"]["c"], c)

    resumed = [EpochState.from_state_dict(entry, World(torch.device("cpu"), rank, others)) for rank in range(others)]
    for rank, item in enumerate(resumed):
        assert (item.windows, item.total_windows, item.seconds) == (4, 9, 2.5)
        assert item.state is not None
        assert torch.equal(item.state.h, h[:, rank::others])
        assert item.rng_states == ({"cpu": randoms[rank]} if rank < size else {})
    assert torch.equal(sum((item.totals for item in resumed), torch.zeros(2)), torch.tensor([9.0, 6.0]).double())


def test_more_processes_than_rows_are_refused(tmp_path: Path) -> None:
    world = World(torch.device("cpu"), rank=3, size=4)
    pieces = [EncodedPiece("a", np.array([4, 5, GRID.end_token], np.int32), 0, 0)] * 5
    with pytest.raises(ConfigurationError, match=r"4 processes cannot share 3 rows .* start at most 3"):
        Trainer(settings(), GRID, pieces, pieces, tmp_path, world=world)


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_every_row_belongs_to_one_process(batch_size: int) -> None:
    worlds = [World(torch.device("cpu"), rank, 3) for rank in range(3)]
    owned = [row for world in worlds for row in range(batch_size)[world.rows(batch_size)]]
    assert sorted(owned) == list(range(batch_size))


def test_a_process_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigurationError, match="there is no GPU for process 1 of this machine; it has 1"):
        local_device("cuda", 1)
