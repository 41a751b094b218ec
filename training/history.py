"""The record of a run: one line an epoch, to CSV and TensorBoard."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from torch.utils.tensorboard import SummaryWriter

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
    """While training."""
    seconds: float
    """Training and validation together."""


_COLUMNS: Final = [field.name for field in fields(EpochRecord)]


class History:
    """Appends records to `history.csv` and TensorBoard events in a run folder.

    Use as a context manager. What the files say past `records`, or not at all, is put right at once: the
    checkpoint, which holds the records, is the truth, and a killed run may have written more or less than it.
    """

    def __init__(self, folder: Path, records: Sequence[EpochRecord]) -> None:
        self._path = folder / HISTORY
        partial = self._path.with_name(HISTORY + ".partial")
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(asdict(record) for record in records)
        partial.replace(self._path)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=len(records) + 1)

    def append(self, record: EpochRecord) -> None:
        """Write one epoch's record."""
        with self._path.open("a", newline="") as file:
            csv.DictWriter(file, _COLUMNS, lineterminator="\n").writerow(asdict(record))
        for name, value in asdict(record).items():
            if name != "epoch":
                self._board.add_scalar(
                    name.replace("train_", "train/").replace("valid_", "valid/"), value, record.epoch
                )
        self._board.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._board.close()


def read_history(path: Path) -> list[EpochRecord]:
    """The records in a `history.csv`; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [
            EpochRecord(int(row.pop("epoch")), **{name: float(value) for name, value in row.items()})
            for row in csv.DictReader(file)
        ]
