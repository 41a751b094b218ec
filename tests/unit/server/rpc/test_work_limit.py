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
