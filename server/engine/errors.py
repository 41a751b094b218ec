"""Errors of the engine.

FantasiaError
└── EngineError
    ├── EngineRequestError   the request cannot run; the rpc layer validates requests first, so this is a bug of ours
    ├── QueueFullError       the queue is full; carries a retry hint
    │   └── DisplacedError   the request left the full queue for one of another caller
    ├── ConstraintError      no token satisfies all constraints of the request any more
    ├── EngineStoppedError   the engine accepts no more requests, or stopped before this one was complete
    └── EngineFailedError    the runner failed while the sequence ran
"""

from typing import Self

from music.errors import FantasiaError, NoTokenLeftError


class EngineError(FantasiaError):
    """Base class of the engine's errors."""


class EngineRequestError(EngineError, ValueError):
    """A value of the request is out of range, for every engine or for this one."""


class QueueFullError(EngineError):
    """All slots are taken and the queue is full.

    Args:
        name: the engine's name.
        retry_after_seconds: estimated time until a request fits in.
    """

    def __init__(self, name: str, retry_after_seconds: float) -> None:
        super().__init__(f"the queue of {name} is full, try again in {retry_after_seconds:.1f} s")
        self.retry_after_seconds = retry_after_seconds


class DisplacedError(QueueFullError):
    """The request left the full queue, because another caller had less in it. The arguments are the same."""

    def __init__(self, name: str, retry_after_seconds: float) -> None:
        EngineError.__init__(
            self,
            f"the queue of {name} is full, and callers with fewer requests come first: "
            f"try again in {retry_after_seconds:.1f} s",
        )
        self.retry_after_seconds = retry_after_seconds


class ConstraintError(EngineError):
    """Every candidate of the request ran out of tokens that satisfy all its constraints.

    Args:
        error: of the candidate that ran out last.
    """

    def __init__(self, error: NoTokenLeftError) -> None:
        super().__init__(str(error))
        self.error = error


class EngineStoppedError(EngineError):
    """The engine accepts no more requests, or stopped before this one was complete."""


class EngineFailedError(EngineError):
    """The runner failed while the sequence ran. `__cause__` is the runner's own error."""

    @classmethod
    def caused_by(cls, name: str, cause: BaseException) -> Self:
        """Make the error of the engine called `name`, with its cause."""
        error = cls(f"{name} failed while it ran")
        error.__cause__ = cause
        return error
