"""The record of a run: one line an epoch, to CSV and TensorBoard."""

import csv
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


class History:
    """Appends records to `history.csv` and TensorBoard events in a run folder.

    Use as a context manager. Records past `keep_epochs`, which a killed run wrote after its last checkpoint,
    are dropped at once.
    """

    def __init__(self, folder: Path, keep_epochs: int) -> None:
        self._path = folder / HISTORY
        self.records = [record for record in read_history(self._path) if record.epoch <= keep_epochs]
        with self._path.open("w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(EpochRecord)])
            writer.writeheader()
            writer.writerows(asdict(record) for record in self.records)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=keep_epochs + 1)

    def append(self, record: EpochRecord) -> None:
        """Write one epoch's record."""
        self.records.append(record)
        with self._path.open("a", newline="") as file:
            csv.DictWriter(file, [field.name for field in fields(EpochRecord)]).writerow(asdict(record))
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
