"""The record of a run: one line an epoch, to CSV and TensorBoard."""

import csv
import io
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from training.checkpoint import unwritable
from training.files import replace_file

HISTORY: Final = "history.csv"


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """What an epoch gave. Losses are nats per note-step, accuracies shares of all tokens."""

    epoch: int
    """From 1."""
    train_loss: float
    """Measured while training, with dropout and transposition."""
    train_accuracy: float
    valid_loss: float
    valid_accuracy: float
    learning_rate: float
    """At the end of the epoch."""
    tokens_per_second: float
    """While training, all processes together."""
    seconds: float
    """Training and validation together."""


_COLUMNS: Final = [field.name for field in fields(EpochRecord)]


class History:
    """Appends records to `history.csv` and TensorBoard events in a run folder.

    Use as a context manager. What the files say past `records`, or not at all, is put right at once: the
    checkpoint, which holds the records, is the truth, and a killed run may have written more or less than it.

    Raises:
        CheckpointError: a file cannot be written, here and in `append`.
    """

    def __init__(self, folder: Path, records: Sequence[EpochRecord]) -> None:
        self._path = folder / HISTORY
        text = io.StringIO()
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(record) for record in records)
        try:
            replace_file(self._path, text.getvalue().encode())
            self._board = _Board(folder / "tensorboard", first_epoch=len(records) + 1)
        except OSError as error:
            raise unwritable(self._path, error) from error

    def append(self, record: EpochRecord) -> None:
        """Write one epoch's record."""
        try:
            with self._path.open("a", newline="") as file:
                csv.DictWriter(file, _COLUMNS, lineterminator="\n").writerow(asdict(record))
            self._board.append(record)
        except OSError as error:
            raise unwritable(self._path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._board.close()


class _Board:
    """TensorBoard's event file, written in the calling thread: its own writer's thread dies loudly of a full disk."""

    def __init__(self, folder: Path, *, first_epoch: int) -> None:
        folder.mkdir(exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        self._file = (folder / name).open("wb", buffering=0)
        self._writer = RecordWriter(self._file)
        self._write(Event(file_version="brain.Event:2"))
        # Tells TensorBoard to forget what an earlier process wrote of these epochs and later ones.
        self._write(Event(step=first_epoch, session_log=SessionLog(status=SessionLog.START)))

    def append(self, record: EpochRecord) -> None:
        """Write one epoch's record."""
        values = [
            Summary.Value(tag=name.replace("train_", "train/").replace("valid_", "valid/"), simple_value=value)
            for name, value in asdict(record).items()
            if name != "epoch"
        ]
        self._write(Event(step=record.epoch, summary=Summary(value=values)))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._writer.write(event.SerializeToString())


def read_history(path: Path) -> list[EpochRecord]:
    """The records in a `history.csv`; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [
            EpochRecord(int(row.pop("epoch")), **{name: float(value) for name, value in row.items()})
            for row in csv.DictReader(file)
        ]
