"""What a caller holds while the engine works for it."""

from concurrent.futures import Future
from dataclasses import dataclass

from server.engine.completion import Completion


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """A submitted request. Any thread may use it."""

    future: Future[Completion]
    """Becomes a `Completion`, or fails with `EngineFailedError` or `EngineStoppedError`.

    Cancelling it is the same as `cancel`, so `asyncio.wrap_future(ticket.future)` may be awaited and
    cancelled as it is. Its callbacks run in the engine's thread or in the canceller's, so they must be quick.
    """

    def cancel(self) -> None:
        """Give the request up; without effect once it is finished or cancelled.

        The future is cancelled at once. A waiting request leaves the queue at once, a running one gives its
        slot back within one chunk.
        """
        self.future.cancel()
