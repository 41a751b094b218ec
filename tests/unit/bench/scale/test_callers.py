import asyncio
from pathlib import Path

import pytest

from bench.scale.callers import Callers
from bench.served import free_port, started


@pytest.mark.scale
async def test_calls_survive_a_killed_server_and_every_piece_is_checked(small_bundle: Path, tmp_path: Path) -> None:
    port = free_port()
    address = f"127.0.0.1:{port}"
    stopped = asyncio.Event()
    async with Callers(address, 2) as callers:
        with started(small_bundle, tmp_path, port=port) as first:
            await asyncio.to_thread(first.wait_until_ready)
            await callers.learn(address)
            calls = asyncio.create_task(callers.call_until(stopped, rate=50.0))
            await asyncio.sleep(1.0)
            first.process.kill()
        with started(small_bundle, tmp_path, port=port) as second:
            await asyncio.to_thread(second.wait_until_ready)
            await asyncio.sleep(1.0)
            stopped.set()
            tally = await calls

        assert tally.calls > 20
        assert (tally.failed, tally.different, tally.errors) == (0, 0, [])

        for wanted in callers.reference:
            callers.reference[wanted] = b"other bytes"
        with started(small_bundle, tmp_path, port=port) as third:
            await asyncio.to_thread(third.wait_until_ready)
            stopped.clear()
            calls = asyncio.create_task(callers.call_until(stopped, rate=50.0))
            await asyncio.sleep(0.5)
            stopped.set()
            wrong = await calls
        assert wrong.different == wrong.calls > 0
