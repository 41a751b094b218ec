"""Runs work of requests on threads: a few at a time, a limited number that wait, fairly between callers."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from server.engine.fair_queue import FairQueue
from server.errors import WorkLimitError

_RETRY_SECONDS: Final = 1.0
_Result = TypeVar("_Result")


@dataclass(slots=True, eq=False)
class _Work:
    run: Callable[[], Any]
    done: "asyncio.Future[Any]"


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
        self._running = 0
        self._waiting: FairQueue[_Work] = FairQueue()
        self._executor = ThreadPoolExecutor(threads, what, initializer)

    async def run(self, work: Callable[[], _Result], caller: str = "") -> _Result:
        """Run some work on a thread, after the work that waits already and comes first.

        If the awaiting task is cancelled, work that waits does not run; work that runs goes on.

        Args:
            work: what to run.
            caller: whose it is. Callers take turns. If too much waits, a caller with more of it makes room.

        Raises:
            WorkLimitError: too much work waits.
            Exception: any that the work raises.
        """
        item = _Work(work, asyncio.get_running_loop().create_future())
        if self._running < self._threads:
            self._start(item)
        else:
            displaced = self._waiting.displace(caller, 1, 1) if len(self._waiting) >= self._max_waiting else []
            if displaced is None:
                raise self._error()
            for each in displaced:
                each.done.set_exception(self._error())
            self._waiting.push(caller, item, size=1, cost=1.0)
        try:
            result: _Result = await item.done
            return result
        finally:
            self._waiting.remove(item)

    def close(self) -> None:
        """Forget the work that waits, and end the threads after the work that runs."""
        for item in self._waiting:
            item.done.cancel()
        self._waiting.clear()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _start(self, item: _Work) -> None:
        self._running += 1
        loop = asyncio.get_running_loop()

        def finished(future: "Future[Any]") -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._finish, item, future)

        self._executor.submit(item.run).add_done_callback(finished)

    def _finish(self, item: _Work, future: "Future[Any]") -> None:
        self._running -= 1
        if len(self._waiting):
            self._start(self._waiting.pop())
        if item.done.done():  # cancelled
            return
        if future.cancelled():
            item.done.cancel()
        elif (error := future.exception()) is not None:
            item.done.set_exception(error)
        else:
            item.done.set_result(future.result())

    def _error(self) -> WorkLimitError:
        return WorkLimitError(self._what, self._max_waiting, _RETRY_SECONDS)
