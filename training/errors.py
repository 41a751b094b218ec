"""Errors of training and export. Each message is a sentence for the user of the command line.

FantasiaError (music.errors)
└── TrainingError
    ├── CorpusError           no readable file, too few pieces to split, a damaged cache
    ├── ConfigurationError    an unknown configuration or a value out of range
    ├── DivergenceError       the loss is not finite
    ├── CheckpointError       a run's checkpoint is missing, damaged, or belongs to another run
    ├── OutOfMemoryError      the network and its batch do not fit on the device
    ├── StoppedError          a signal stopped the training; a checkpoint is saved
    ├── DistributedError      the processes of a training cannot reach each other
    ├── StartingPointError    the model to start from cannot be used, or the corpus does not suit it
    ├── CardError             the text of a model card cannot be read, or its samples fail
    └── ExportError           the ONNX graphs do not agree with PyTorch
"""

from pathlib import Path

from music.errors import FantasiaError


class TrainingError(FantasiaError):
    """Base of the errors of training and export."""


class CorpusError(TrainingError):
    """The corpus holds no readable file, too few pieces to split, or its cache is damaged."""


class ConfigurationError(TrainingError):
    """An unknown configuration, or a value out of range."""


class DivergenceError(TrainingError):
    """The loss is not finite."""


class CheckpointError(TrainingError):
    """A run's checkpoint is missing, damaged, or belongs to another corpus or configuration."""

    @classmethod
    def from_os_error(cls, path: Path, error: OSError) -> "CheckpointError":
        """The error for a file of a run that could not be written."""
        return cls(
            f"cannot write {path} ({error.strerror or error}). The last checkpoint, if there was one, is intact: run "
            "the same command to resume from it"
        )


class OutOfMemoryError(TrainingError):
    """The network and its batch do not fit into the device's memory."""


class StoppedError(TrainingError):
    """A signal stopped the training. A checkpoint is saved."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal
        """Number of the signal."""


class DistributedError(TrainingError):
    """The processes of a training cannot reach each other."""


class StartingPointError(TrainingError):
    """The model that a training starts from cannot be used, or the corpus does not suit it."""


class CardError(TrainingError):
    """The text of a model card cannot be read, or its samples fail."""


class ExportError(TrainingError):
    """The exported graphs do not agree with the PyTorch model."""
