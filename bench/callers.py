"""Who asks for a piece: our own client over gRPC, or plain HTTP as serving frameworks have it."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from fantasia_client import AsyncClient

TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Target:
    """A server to call."""

    wire: Literal["grpc", "http"]
    address: str
    """`HOST:PORT` for gRPC, the whole URL for HTTP."""


@dataclass(frozen=True, slots=True)
class Call:
    """One piece that a client got. Times are of `time.perf_counter`, in the clients' process."""

    began: float
    ended: float
    tokens: int
    queue_seconds: float = 0.0
    """The wait for a slot; this and the next two as the server tells them, 0 where it does not."""
    first_token_seconds: float = 0.0
    """From admission."""
    engine_seconds: float = 0.0
    """From admission to the last token."""
    digest: str = ""
    """Of the bundle that wrote it."""

    @property
    def seconds(self) -> float:
        """What the caller waited."""
        return self.ended - self.began

    @property
    def first_note_seconds(self) -> float:
        """What the caller waited, less the time from the first token to the last.

        The service answers with whole pieces, so nobody sees the first token come. All that happens outside the
        engine (the wire both ways, validation, writing the MIDI) counts as if it came before it: at worst too much.
        """
        return self.seconds - (self.engine_seconds - self.first_token_seconds)

    @property
    def running(self) -> tuple[float, float]:
        """When it had a slot, from and to: what its answer took after its last token moves it by a little."""
        return self.ended - (self.engine_seconds - self.queue_seconds), self.ended


class Caller(Protocol):
    """A connection to a target."""

    async def connect(self) -> None:
        """Make sure that somebody is there."""

    async def write(self, steps: int, seed: int) -> Call:
        """Ask for one piece of so many steps."""


class GrpcCaller:
    """The published client."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def connect(self) -> None:
        """See `Caller.connect`."""
        await self._client.get_model()

    async def write(self, steps: int, seed: int) -> Call:
        """See `Caller.write`."""
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


@asynccontextmanager
async def calling(target: Target) -> AsyncIterator[Caller]:
    """A connection to the target."""
    if target.wire == "grpc":
        async with AsyncClient(target.address, timeout_seconds=TIMEOUT_SECONDS) as client:
            yield GrpcCaller(client)
    else:
        from bench.peers.http import http_caller  # only where peers are measured: its library is theirs

        async with http_caller(target.address) as caller:
            yield caller
