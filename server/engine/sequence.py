"""A request's run state."""

from concurrent.futures import Future
from dataclasses import dataclass, field

from server.engine.completion import Completion
from server.engine.request import EngineRequest


@dataclass(slots=True, eq=False)
class Sequence:
    """A request on its way through the engine. What changes at every step lies in the `Batch`, by slot."""

    request: EngineRequest
    """What was asked."""
    submitted_at: float
    """When, in seconds of `time.perf_counter`, like all times here."""
    future: Future[Completion] = field(default_factory=Future)
    """What the caller waits for."""
    slot: int | None = None
    """Its row while it runs."""
    started_at: float | None = None
    """When it got its slot."""
    first_token_at: float | None = None
    """When its first sampled token was there."""
    seated: bool = False
    """Whether the engine's thread knows of it: it is in the batch, or its primer is read."""
    cancelled_at: float | None = None
    """When its caller gave it up."""
    settled: bool = False
    """Whether somebody has taken it on to resolve its future; nobody else may then."""
