"""The results of an ablation, as a JSON file."""

from report import Record
from training.loop.history import EpochRecord


class Curve(Record):
    """One training. Losses are in nats per note-step, by epoch."""

    name: str
    difference: str
    """What differs from the first training, in words."""
    parameters: int
    """Trained parameters of the network."""
    train_loss: tuple[float, ...]
    """With dropout."""
    valid_loss: tuple[float, ...]

    @classmethod
    def from_history(cls, name: str, difference: str, parameters: int, epochs: list[EpochRecord]) -> "Curve":
        """The curve of a run's history."""
        return cls(
            name=name,
            difference=difference,
            parameters=parameters,
            train_loss=tuple(round(epoch.train_loss, 5) for epoch in epochs),
            valid_loss=tuple(round(epoch.valid_loss, 5) for epoch in epochs),
        )

    @property
    def best(self) -> float:
        """Lowest validation loss."""
        return min(self.valid_loss)


class AblationRecord(Record):
    """All trainings. The others are compared with the first."""

    curves: tuple[Curve, ...]
