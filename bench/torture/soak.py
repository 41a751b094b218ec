"""Hours of mixed calls with cancellations and restarts: memory, threads and descriptors stay as they are."""

import asyncio
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from bench.scale.callers import Callers, CallsTally, total
from bench.served import Served, free_port, served
from bench.torture.record import Sample, Soak
from fantasia_client import AsyncClient, Retry

_CLIENTS: Final = 4
_RATE: Final = 6.0
"""Calls a second whose pieces are checked."""
_CANCELLED_RATE: Final = 6.0
"""Calls a second that are cancelled at a random time."""
_MAX_GROWTH: Final = 0.05
"""Growth of the memory of one process, from the second quarter of its life to the last."""
_MORE: Final = 4
"""Threads or descriptors, the same way."""
_MIN_SAMPLES: Final = 8


def run_soak(models: Path, seconds: float, restarts: int) -> Soak:
    """Call a server for some time. It is restarted some times, with SIGTERM, while calls run.

    Raises:
        BenchError: a server does not start.
        FantasiaClientError: the first calls failed, before the soak.
    """
    with TemporaryDirectory() as folder:
        return asyncio.run(_soak(models, Path(folder), seconds, restarts))


async def _soak(models: Path, folder: Path, seconds: float, restarts: int) -> Soak:
    port, each = free_port(), seconds / (restarts + 1)
    address = f"127.0.0.1:{port}"
    samples: list[Sample] = []
    tallies: list[CallsTally] = []
    cancelled = 0
    async with Callers(address, _CLIENTS) as callers:
        for number in range(restarts + 1):
            sys.stderr.write(f"soak: server {number + 1} of {restarts + 1}\n")
            server_context = served(models, folder, port=port)
            server = await asyncio.to_thread(server_context.__enter__)
            try:
                if not number:
                    await callers.learn(address)
                stopped = asyncio.Event()
                calls = asyncio.create_task(callers.call_until(stopped, _RATE))
                cancels = asyncio.create_task(_cancel_calls(address, stopped, number))
                samples += await _sampled(server, number, each)
                last = number == restarts
                if not last:
                    server.process.terminate()  # calls that it does not finish are retried at the next server
                stopped.set()
                cancelled += await cancels
                if last:
                    tallies.append(await calls)
            finally:
                await asyncio.to_thread(server_context.__exit__, None, None, None)
            if number < restarts:
                tallies.append(await calls)
    tally = total(tallies)
    faults = [fault for number in range(restarts + 1) for fault in growth([s for s in samples if s.server == number])]
    if tally.failed:
        faults.append(f"{tally.failed} of {tally.calls} calls failed: {tally.errors[0]}")
    if tally.different:
        faults.append(f"{tally.different} pieces differ")
    return Soak(
        seconds=seconds,
        calls=tally.calls,
        cancelled=cancelled,
        failed=tally.failed,
        different=tally.different,
        restarts=restarts,
        samples=tuple(samples),
        faults=tuple(faults),
    )


async def _sampled(server: Served, number: int, seconds: float) -> list[Sample]:
    began, samples = time.monotonic(), []
    interval = seconds / 60
    while (elapsed := time.monotonic() - began) < seconds:
        samples.append(Sample(seconds=elapsed, server=number, resources=server.resources()))
        await asyncio.sleep(interval)
    return samples


async def _cancel_calls(address: str, stopped: asyncio.Event, seed: int) -> int:
    """Begin calls and cancel each at a random time, until the event is set.

    Returns:
        how many were begun.
    """
    draws, count = random.Random(seed), 0  # noqa: S311 - no secret

    async def cancel_one(client: AsyncClient, number: int, wait: float) -> None:
        candidates = 8 if number % 5 == 0 else 1
        call = asyncio.create_task(client.generate(bars=16, seed=number, candidates=candidates))
        await asyncio.sleep(wait)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    async with AsyncClient(address, retry=Retry(attempts=1)) as client, asyncio.TaskGroup() as group:
        while not stopped.is_set():
            group.create_task(cancel_one(client, count, draws.uniform(0.0, 1.0)))
            count += 1
            await asyncio.sleep(draws.expovariate(_CANCELLED_RATE))
    return count


def growth(samples: Sequence[Sample]) -> list[str]:
    """What grew in the life of one process, a sentence each: its second quarter is compared with its last one."""
    if len(samples) < _MIN_SAMPLES:
        return ["the soak was too short to tell whether anything grows"]
    quarter = len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]

    def medians(name: str) -> tuple[float, float]:
        first, last = (median(getattr(sample.resources, name) for sample in part) for part in (early, late))
        return first, last

    found = []
    first, last = medians("resident_bytes")
    if last > first * (1 + _MAX_GROWTH):
        found.append(f"the memory grew from {first / 2**20:.0f} to {last / 2**20:.0f} MiB")
    for name in ("threads", "descriptors"):
        first, last = medians(name)
        if last > first + _MORE:
            found.append(f"the {name} grew from {first:g} to {last:g}")
    return found
