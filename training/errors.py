"""Errors of offline work. Each one is a sentence for the person at the command line.

FantasiaError (music.errors)
└── TrainingError
    ├── CorpusError           no readable file, too few pieces to split, a damaged cache
    ├── ConfigurationError    an unknown configuration or a value out of range
    ├── DivergenceError       the loss is no number any more
    ├── CheckpointError       a run's checkpoint is missing or belongs to something else
    ├── OutOfMemoryError      the network and its lanes do not fit on the device
    ├── StoppedError          a training was asked to stop, and has saved what it has reached
    ├── DistributedError      the processes that train together do not reach each other
    ├── CardError             the words for a model card cannot be read, or its samples not be made
    └── ExportError           the ONNX graphs do not agree with PyTorch
"""

from music.errors import FantasiaError


class TrainingError(FantasiaError):
    """Base of what can go wrong offline."""


class CorpusError(TrainingError):
    """The corpus holds no readable file, too few pieces to split, or its cache is damaged."""


class ConfigurationError(TrainingError):
    """An unknown configuration, or a value out of range."""


class DivergenceError(TrainingError):
    """The loss is no number any more."""


class CheckpointError(TrainingError):
    """A run's checkpoint is missing, damaged, or belongs to another corpus or configuration."""


class OutOfMemoryError(TrainingError):
    """The network and its lanes do not fit into the device's memory."""


class StoppedError(TrainingError):
    """A training was asked to stop by a signal; what it has reached is saved."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal
        """Number of the signal."""


class DistributedError(TrainingError):
    """The processes that train one network together do not reach each other."""


class CardError(TrainingError):
    """The words for a model card cannot be read, or its samples cannot be made."""


class ExportError(TrainingError):
    """The exported graphs do not agree with the PyTorch model."""
