import threading
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.loop.history import HISTORY, EpochRecord, History, read_history


def record(epoch: int, loss: float) -> EpochRecord:
    return EpochRecord(epoch, loss, 0.5, loss, 0.5, 1e-3, 1000.0, 1.0)


def write(folder: Path, before: list[EpochRecord], new: list[EpochRecord]) -> None:
    with History(folder, before) as history:
        for item in new:
            history.append(item)


def test_a_resumed_run_shows_every_epoch_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = [record(epoch, 1.0) for epoch in (1, 2, 3, 4)]  # its last checkpoint has two epochs
    resumed = [record(epoch, 0.5) for epoch in (3, 4, 5)]
    now = time.time()
    for start, before, new in ((now, [], killed), (now + 1, killed[:2], resumed)):
        monkeypatch.setattr(time, "time", lambda start=start: start)  # TensorBoard orders its files by the second
        write(tmp_path, before, new)
    assert read_history(tmp_path / HISTORY) == [*killed[:2], *resumed]
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    for tag in ("train/loss", "valid/loss"):
        shown = [(event.step, event.value) for event in events.Scalars(tag)]
        assert shown == [(1, 1.0), (2, 1.0), (3, 0.5), (4, 0.5), (5, 0.5)]


def test_errors_of_other_threads_are_reported_as_before(tmp_path: Path) -> None:
    hook = threading.excepthook
    write(tmp_path, [], [record(1, 1.0)])
    assert threading.excepthook is hook
