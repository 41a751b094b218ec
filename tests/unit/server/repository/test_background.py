import asyncio
import threading

import pytest

from server.repository.background import run_in_background


async def test_the_result_or_the_error_of_the_work_comes_back() -> None:
    def fail() -> None:
        raise KeyError("x")

    assert await run_in_background(threading.current_thread) is not threading.current_thread()
    with pytest.raises(KeyError, match="x"):
        await run_in_background(fail)


async def test_the_event_loop_runs_beside_the_work() -> None:
    go = threading.Event()
    work = asyncio.ensure_future(run_in_background(go.wait))
    await asyncio.sleep(0.01)
    assert not work.done()
    go.set()
    assert await work


@pytest.mark.parametrize("fails", [False, True])
async def test_the_result_of_abandoned_work_is_cleaned_up(fails: bool) -> None:
    go, over = threading.Event(), threading.Event()
    cleaned: list[str] = []

    def make() -> str:
        go.wait()
        if fails:
            threading.Timer(0.05, over.set).start()
            raise KeyError("x")
        return "model"

    def clean(result: str) -> None:
        cleaned.append(result)
        over.set()

    work = asyncio.ensure_future(run_in_background(make, abandoned=clean))
    await asyncio.sleep(0.01)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert cleaned == []
    go.set()
    assert await asyncio.to_thread(over.wait, 10)
    assert cleaned == ([] if fails else ["model"])
