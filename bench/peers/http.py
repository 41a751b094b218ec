"""Calls over HTTP with JSON."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from bench.callers import TIMEOUT_SECONDS, Call
from bench.errors import BenchError


class HttpCaller:
    """Posts to one URL; see `bench.callers.Caller`."""

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client, self._url = client, url

    async def connect(self) -> None:
        """Ask for the shortest piece there is."""
        await self.write(1, 0)

    async def write(self, steps: int, seed: int) -> Call:
        """See `Caller.write`."""
        began = time.perf_counter()
        try:
            response = await self._client.post(self._url, json={"steps": steps, "seed": seed})
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise BenchError(f"{self._url} gave no piece: {error!r}") from error
        return Call(began, time.perf_counter(), response.json()["tokens"])


@asynccontextmanager
async def http_caller(url: str) -> AsyncIterator[HttpCaller]:
    """A connection pool without a limit of its own."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, limits=limits) as client:
        yield HttpCaller(client, url)
