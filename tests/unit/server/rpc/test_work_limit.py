"""Work of requests runs on a few threads, and little of it waits."""

import asyncio
import threading

import pytest

from server.errors import WorkLimitError
from server.rpc.work_limit import WorkLimit


async def test_results_and_errors_come_back() -> None:
    work = WorkLimit("planning", threads=1, max_waiting=1)

    assert await work.run(threading.get_ident) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await work.run(lambda: 1 // 0)
    work.close()


async def test_too_much_work_is_refused_and_nothing_leaks() -> None:
    go = threading.Event()
    work = WorkLimit("planning", threads=1, max_waiting=2)
    for _ in range(3):
        go.clear()
        running = [asyncio.ensure_future(work.run(go.wait)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(WorkLimitError, match="2 requests wait for planning, the maximum"):
            await work.run(go.wait)
        running[2].cancel()
        await asyncio.gather(running[2], return_exceptions=True)
        await asyncio.sleep(0)
        last = asyncio.ensure_future(work.run(lambda: True))
        await asyncio.sleep(0)
        go.set()
        assert await asyncio.gather(*running[:2], last) == [True, True, True]
        await asyncio.sleep(0)
    work.close()


async def test_callers_take_turns_and_the_one_with_the_most_makes_room() -> None:
    go, order = threading.Event(), []
    work = WorkLimit("planning", threads=1, max_waiting=4)
    first = asyncio.ensure_future(work.run(go.wait, "flooder"))
    await asyncio.sleep(0)

    def ask(caller: str) -> "asyncio.Future[None]":
        return asyncio.ensure_future(work.run(lambda: order.append(caller), caller))

    flood = [ask("flooder") for _ in range(4)]
    await asyncio.sleep(0)
    polite = [ask("polite"), ask("other")]
    await asyncio.sleep(0)
    go.set()
    found = await asyncio.gather(*flood, *polite, return_exceptions=True)
    assert [isinstance(each, WorkLimitError) for each in found] == [False, False, True, True, False, False]
    assert order == ["flooder", "polite", "other", "flooder"]
    assert await first
    work.close()


async def test_work_that_waits_when_it_is_closed_is_cancelled() -> None:
    go = threading.Event()
    work = WorkLimit("planning", threads=1, max_waiting=4)
    running, waiting = (asyncio.ensure_future(work.run(go.wait)) for _ in range(2))
    await asyncio.sleep(0)
    work.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go.set()
    assert await running
