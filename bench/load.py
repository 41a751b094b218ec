"""Clients of the service, all in one process of their own."""

import asyncio
import itertools
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from bench.errors import BenchError
from fantasia_client import AsyncClient, FantasiaClientError

_SHORTEST_WINDOW_SECONDS: Final = 0.5
_PIECES_A_WINDOW: Final = 1.5  # more than one, so that some end in it
_TIMEOUT_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Call:
    """One piece that a client got. Times are of `time.perf_counter`, in the clients' process."""

    began: float
    ended: float
    tokens: int
    first_token_seconds: float
    engine_seconds: float

    @property
    def seconds(self) -> float:
        """What the caller waited."""
        return self.ended - self.began


@dataclass(frozen=True, slots=True)
class Round:
    """What the clients saw while all of them were busy."""

    opened: float
    closed: float
    calls: tuple[Call, ...]
    """Every call that overlaps the window between `opened` and `closed`."""
    digests: frozenset[str]
    """Of the bundles that wrote the pieces."""

    @property
    def rate(self) -> float:
        """Tokens a second within the window."""
        return tokens_within(self.opened, self.closed, self.calls) / (self.closed - self.opened)

    @property
    def finished(self) -> list[Call]:
        """The calls that ended within the window."""
        return [call for call in self.calls if self.opened < call.ended <= self.closed]


def tokens_within(opened: float, closed: float, calls: Iterable[Call]) -> float:
    """Tokens of the window: each call gives the part of its own that its overlap with the window is of it.

    To count only calls that ended inside would round to whole pieces.
    """
    return sum(
        call.tokens * max(min(call.ended, closed) - max(call.began, opened), 0.0) / call.seconds for call in calls
    )


def play_round(address: str, clients: int, steps: int, first_seed: int) -> Round:
    """Have clients ask for one piece after the other, and look at a while in which all of them do.

    Their first pieces differ in length, from a part to the whole, so that they do not come in step
    afterwards, as callers in the world do not. The window opens when the last of the first pieces is there
    and is half as long again as that took.

    Args:
        address: of the server.
        clients: how many at once.
        steps: length of a piece.
        first_seed: of the seeds, which count up from there.

    Raises:
        BenchError: a call failed.
    """
    try:
        return asyncio.run(_play(address, clients, steps, first_seed))
    except (FantasiaClientError, ExceptionGroup) as error:
        leaf: Exception = error
        while isinstance(leaf, ExceptionGroup):
            leaf = leaf.exceptions[0]
        if not isinstance(leaf, FantasiaClientError):
            raise
        # Its text alone: the client's own errors do not all survive the way to the other process.
        raise BenchError(f"a call failed: {leaf}") from None


async def _play(address: str, clients: int, steps: int, first_seed: int) -> Round:
    seeds = itertools.count(first_seed)
    calls: list[Call] = []
    digests: set[str] = set()
    begun = 0
    all_begun, closing = asyncio.Event(), asyncio.Event()

    async def ask(client: AsyncClient, length: int) -> None:
        began = time.perf_counter()
        piece = await client.generate(steps=length, seed=next(seeds))
        timing = piece.timing
        calls.append(
            Call(began, time.perf_counter(), piece.token_count, timing.first_token_seconds, timing.total_seconds)
        )
        digests.add(piece.model_digest)

    async def play(client: AsyncClient, index: int) -> None:
        nonlocal begun
        await ask(client, max(steps * (index + 1) // clients, 1))
        begun += 1
        if begun == clients:
            all_begun.set()
        while not closing.is_set():
            await ask(client, steps)

    async with AsyncClient(address, timeout_seconds=_TIMEOUT_SECONDS) as client:
        await client.get_model()  # connects
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for index in range(clients):
                group.create_task(play(client, index))
            await all_begun.wait()
            opened = time.perf_counter()
            await asyncio.sleep(max((opened - began) * _PIECES_A_WINDOW, _SHORTEST_WINDOW_SECONDS))
            closed = time.perf_counter()
            closing.set()
    overlapping = tuple(call for call in calls if call.ended > opened and call.began < closed)
    return Round(opened, closed, overlapping, frozenset(digests))
