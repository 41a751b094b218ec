"""Clients that request pieces: our own over gRPC, or plain HTTP for peers."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from bench.options import BenchError
from fantasia_client import AsyncClient

TIMEOUT_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class Target:
    """A server to call."""

    wire: Literal["grpc", "http"]
    address: str
    """`HOST:PORT` for gRPC, the whole URL for HTTP."""


@dataclass(frozen=True, slots=True)
class Call:
    """One answered call. Times are of `time.perf_counter` in the clients' process."""

    began: float
    ended: float
    tokens: int
    queue_seconds: float = 0.0
    """Waiting time for a slot. This and the next two are from the response's timing, 0 if it has none."""
    first_token_seconds: float = 0.0
    """From admission to the first token."""
    engine_seconds: float = 0.0
    """From admission to the last token."""
    digest: str = ""
    """Of the bundle that wrote the piece."""

    @property
    def seconds(self) -> float:
        """Latency for the client."""
        return self.ended - self.began

    @property
    def client_first_token_seconds(self) -> float:
        """Latency minus the time from the first token to the last.

        The service answers with whole pieces, so the client does not see the first token. All time outside the engine
        (wire, validation, MIDI) counts as if it came before the first token: at worst too much.
        """
        return self.seconds - (self.engine_seconds - self.first_token_seconds)

    @property
    def running(self) -> tuple[float, float]:
        """Begin and end of the time in a slot; the response's way back moves both a little."""
        return self.ended - (self.engine_seconds - self.queue_seconds), self.ended


class Client(Protocol):
    """A connection to a target."""

    async def connect(self) -> None:
        """Check that the target answers."""

    async def generate(self, steps: int, seed: int) -> Call:
        """Request one piece of so many steps."""


@asynccontextmanager
async def open_client(target: Target) -> AsyncIterator[Client]:
    """A connection to the target.

    Raises:
        BenchError: an HTTP call failed.
        FantasiaClientError: a gRPC call failed.
    """
    if target.wire == "grpc":
        async with AsyncClient(target.address, timeout_seconds=TIMEOUT_SECONDS) as client:
            yield _GrpcClient(client)
    else:
        import httpx  # only peers need it

        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, limits=limits) as http:
            yield _HttpClient(http, target.address)


class _GrpcClient:
    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def connect(self) -> None:
        await self._client.get_model()

    async def generate(self, steps: int, seed: int) -> Call:
        began = time.perf_counter()
        piece = await self._client.generate(steps=steps, seed=seed)
        ended, timing = time.perf_counter(), piece.timing
        return Call(
            began,
            ended,
            piece.token_count,
            queue_seconds=timing.queue_seconds,
            first_token_seconds=timing.first_token_seconds,
            engine_seconds=timing.total_seconds,
            digest=piece.model_digest,
        )


class _HttpClient:
    def __init__(self, client: Any, url: str) -> None:
        self._client, self._url = client, url

    async def connect(self) -> None:
        await self.generate(1, 0)

    async def generate(self, steps: int, seed: int) -> Call:
        import httpx

        began = time.perf_counter()
        try:
            response = await self._client.post(self._url, json={"steps": steps, "seed": seed})
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise BenchError(f"{self._url} did not answer with a piece: {error!r}") from error
        return Call(began, time.perf_counter(), response.json()["tokens"])
