"""The results of a comparison, as a JSON file."""

from report import Record
from training.evaluation.record import Likelihood


class BudgetPoint(Record):
    """A training after so many CPU seconds."""

    cpu_seconds: float
    tokens: int
    """Tokens trained so far."""
    train_nats_per_token: float
    """Of the training tokens since the last point, before each step."""
    valid_nats_per_note: float


class ComparedModel(Record):
    """One model of a comparison: how it was trained, and how well it predicts the test pieces."""

    name: str
    difference: str
    """What differs from the first model, in words."""
    parameters: int
    """Trained parameters; 0 for an n-gram."""
    cpu_seconds: float
    """Of the training."""
    points: tuple[BudgetPoint, ...]
    """In the order of time; none for an n-gram."""
    test: Likelihood


class ComparisonRecord(Record):
    """All models. The others are compared with the first."""

    budget_seconds: float
    """CPU seconds of each training."""
    results: tuple[ComparedModel, ...]
