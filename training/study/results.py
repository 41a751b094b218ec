"""What a study measured, on disk as JSON."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from training.errors import CorpusError
from training.files import replace_file
from training.history import EpochRecord


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Curve(_Table):
    """One training."""

    name: str
    what: str
    parameters: int
    """Trained parameters of its network."""
    train_loss: tuple[float, ...]
    """Nats per note-step by epoch, with dropout."""
    valid_loss: tuple[float, ...]
    """Nats per note-step by epoch."""

    @classmethod
    def of(cls, name: str, what: str, parameters: int, records: list[EpochRecord]) -> "Curve":
        """The curve of a run's history."""
        train = tuple(round(record.train_loss, 5) for record in records)
        return cls(
            name=name,
            what=what,
            parameters=parameters,
            train_loss=train,
            valid_loss=tuple(round(record.valid_loss, 5) for record in records),
        )

    @property
    def best(self) -> float:
        """Lowest validation loss."""
        return min(self.valid_loss)


class Results(_Table):
    """All trainings of a study, the one that the others are compared with first."""

    curves: tuple[Curve, ...]

    def save(self, path: Path) -> None:
        """Write JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, (self.model_dump_json(indent=1) + "\n").encode())

    @classmethod
    def load(cls, path: Path) -> "Results":
        """Read what `save` wrote.

        Raises:
            CorpusError: it is something else.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise CorpusError(f"{path} holds no results of a study: {error}") from error
