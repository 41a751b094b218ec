"""The history of a run: one record per epoch, in CSV and for TensorBoard."""

import csv
import io
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from report import replace_file
from training.errors import CheckpointError

HISTORY: Final = "history.csv"
_TENSORBOARD: Final = "tensorboard"


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """Results of one epoch. Losses are nats per note-step, accuracies are shares of all tokens."""

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
    """Appends records to `history.csv` and to TensorBoard events in a run folder. Use as a context manager.

    The checkpoint holds the records, too. A killed run may have written more or fewer records to the files than to its
    checkpoint, so entering the context first sets the files to the records of the checkpoint.
    """

    def __init__(self, folder: Path, records: Sequence[EpochRecord]) -> None:
        self._folder = folder
        self._path = folder / HISTORY
        self._records = list(records)
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        """Open the files.

        Raises:
            CheckpointError: a file cannot be written.
        """
        from torch.utils.tensorboard import SummaryWriter

        text = io.StringIO()
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(record) for record in self._records)
        with ExitStack() as exits:
            exits.enter_context(_silent_thread_errors(OSError))
            try:
                replace_file(self._path, text.getvalue().encode())
                # From `purge_step` on, TensorBoard forgets what an earlier process wrote.
                self._board = SummaryWriter(self._folder / _TENSORBOARD, purge_step=len(self._records) + 1)
                exits.callback(self._close)
                self._board.flush()
            except OSError as error:
                raise CheckpointError.from_os_error(self._path, error) from error
            self._exits = exits.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()

    def append(self, record: EpochRecord) -> None:
        """Write the record of one epoch.

        Raises:
            CheckpointError: a file cannot be written.
        """
        try:
            with self._path.open("a", newline="") as file:
                csv.DictWriter(file, _COLUMNS, lineterminator="\n").writerow(asdict(record))
            for name, value in asdict(record).items():
                if name != "epoch":
                    tag = name.replace("train_", "train/").replace("valid_", "valid/")
                    self._board.add_scalar(tag, value, record.epoch)
            self._board.flush()  # raises the error of the thread that writes
        except OSError as error:
            raise CheckpointError.from_os_error(self._path, error) from error

    def _close(self) -> None:
        with suppress(OSError):  # raised before: every event was flushed
            self._board.close()


@contextmanager
def _silent_thread_errors(kind: type[Exception]) -> Iterator[None]:
    """Print no traceback of threads that end with this error: TensorBoard's thread also hands it to `flush`."""
    hook = threading.excepthook

    def silent(arguments: Any) -> None:
        if not issubclass(arguments.exc_type, kind):
            hook(arguments)

    threading.excepthook = silent
    try:
        yield
    finally:
        threading.excepthook = hook


def read_history(path: Path) -> list[EpochRecord]:
    """The records in a `history.csv`; none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [
            EpochRecord(int(row.pop("epoch")), **{name: float(value) for name, value in row.items()})
            for row in csv.DictReader(file)
        ]
