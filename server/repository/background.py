"""Runs work that takes long on threads beside the event loop."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from runtime.threads import let_other_threads_preempt

_Result = TypeVar("_Result")


async def run_in_background(
    work: Callable[[], _Result], *, abandoned: Callable[[_Result], object] = lambda result: None
) -> _Result:
    """What some work returns, which runs on a thread of its own.

    The process does not wait for the thread when it ends: a model may take minutes to load.

    Args:
        work: what to do.
        abandoned: gets the result if the caller is cancelled before it is there.

    Raises:
        Exception: any that the work raises.
    """
    future: Future[_Result] = Future()

    def run() -> None:
        let_other_threads_preempt()  # not a lower priority: threads that the work starts would inherit it
        try:
            result = work()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    def clean_up(done: Future[_Result]) -> None:
        if done.exception() is None:
            abandoned(done.result())

    threading.Thread(target=run, name="repository", daemon=True).start()
    waiting = asyncio.shield(asyncio.wrap_future(future))
    try:
        return await waiting
    except asyncio.CancelledError:
        future.add_done_callback(clean_up)
        raise
