"""Errors of the engine.

FantasiaError
└── EngineError
    ├── EngineRequestError   a request that no engine could run: our own mistake, callers are validated before
    ├── QueueFullError       as many sequences wait as may; says when to come back
    ├── EngineStoppedError   the engine takes no more requests, or stopped before this one was finished
    ├── EngineFailedError    the runner failed while the sequence ran
    ├── ProviderUnavailableError   the execution provider asked for does not run on this machine
    └── PrecisionUnavailableError  the arithmetic asked for does not run on this machine, or not with this bundle
"""

from music.errors import FantasiaError


class EngineError(FantasiaError):
    """Base of the engine's errors."""


class EngineRequestError(EngineError, ValueError):
    """A request holds a value that no engine, or not this one, can run."""


class QueueFullError(EngineError):
    """As many sequences wait as may.

    Args:
        name: the engine's name.
        retry_after_seconds: when there is likely room again.
    """

    def __init__(self, name: str, retry_after_seconds: float) -> None:
        super().__init__(f"the queue of {name} is full, try again in {retry_after_seconds:.1f} s")
        self.retry_after_seconds = retry_after_seconds


class EngineStoppedError(EngineError):
    """The engine takes no more requests, or stopped before this one was finished."""


class EngineFailedError(EngineError):
    """The runner failed while the sequence ran; `__cause__` is the runner's own error."""


class ProviderUnavailableError(EngineError):
    """The execution provider asked for does not run on this machine."""


class PrecisionUnavailableError(EngineError):
    """The arithmetic asked for does not run on this machine, or not with this bundle."""
