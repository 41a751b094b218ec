"""Runs work of requests on threads: a few at a time, and a limited number that wait."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from server.errors import WorkLimitError

_RETRY_SECONDS: Final = 1.0
_Result = TypeVar("_Result")


class WorkLimit:
    """Work of one kind. Used on the event loop only.

    Args:
        what: what requests wait for, for the error.
        threads: number of threads.
        max_waiting: maximum number of requests that wait.
        initializer: runs first in each thread.
    """

    def __init__(
        self, what: str, *, threads: int, max_waiting: int, initializer: Callable[[], object] | None = None
    ) -> None:
        self._what = what
        self._max_waiting = max_waiting
        self._threads = threads
        self._in_flight = 0
        self._executor = ThreadPoolExecutor(threads, what, initializer)

    async def run(self, work: Callable[[], _Result]) -> _Result:
        """Run some work on a thread, after the work that waits already.

        If the caller is cancelled, work that waits does not run; work that runs goes on.

        Raises:
            WorkLimitError: too much work waits.
            Exception: any that the work raises.
        """
        if self._in_flight >= self._threads + self._max_waiting:
            raise WorkLimitError(self._what, self._max_waiting, _RETRY_SECONDS)
        self._in_flight += 1
        future = self._executor.submit(work)
        future.add_done_callback(self._release(asyncio.get_running_loop()))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Forget the work that waits, and end the threads after the work that runs."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _release(self, loop: asyncio.AbstractEventLoop) -> Callable[[object], None]:
        def release(_: object) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._decrement)

        return release

    def _decrement(self) -> None:
        self._in_flight -= 1
