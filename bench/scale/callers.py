"""Callers that retry as the client's documentation says, and check every piece that they get."""

import asyncio
import itertools
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from fantasia_client import (
    AsyncClient,
    FantasiaClientError,
    Keepalive,
    Piece,
    ResumePoint,
    ServerBusyError,
    ServerUnavailableError,
)

_DISTINCT: Final = 24
"""Different seeds; each is requested as a whole and as a stream."""
_WHOLE_BARS: Final = 2
_STREAM_BARS: Final = 32
_STREAM_SHARE: Final = 0.5
_DEADLINE_SECONDS: Final = 90.0
"""A caller gives up after this time: that is a failed call."""
_WAIT_SECONDS: Final = 1.0
"""Before the next attempt, if the server names no time."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One of the pieces that callers request."""

    seed: int
    streamed: bool

    @property
    def bars(self) -> int:
        """Its length."""
        return _STREAM_BARS if self.streamed else _WHOLE_BARS


@dataclass(slots=True)
class CallsTally:
    """What callers saw."""

    calls: int = 0
    retried: int = 0
    """Calls that needed more than one attempt of the caller; the attempts of gRPC itself are not counted."""
    resumed: int = 0
    """Streams that went on with a resume token."""
    failed: int = 0
    """Calls without a piece within the deadline, or with an error that is not retried."""
    different: int = 0
    """Pieces whose bytes differ from those of an undisturbed server."""
    max_seconds: float = 0.0
    """The longest call, all attempts included."""
    errors: list[str] = field(default_factory=list)
    """Of failed calls."""


class Callers:
    """Some clients, each with connections of its own.

    Args:
        target: that they call.
        count: number of clients.
    """

    def __init__(self, target: str, count: int) -> None:
        self._target = target
        self._count = count
        self._stack = AsyncExitStack()
        self._clients: list[AsyncClient] = []
        self.reference: dict[Wanted, bytes] = {}
        """The bytes of each piece from an undisturbed server, after `learn`."""

    async def __aenter__(self) -> Self:
        for index in range(self._count):
            # gRPC shares connections between the channels of a process that have equal options.
            keepalive = Keepalive(interval_seconds=30.0 + index / 1000)
            client = AsyncClient(self._target, timeout_seconds=_DEADLINE_SECONDS, keepalive=keepalive)
            self._clients.append(await self._stack.enter_async_context(client))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def learn(self, undisturbed: str) -> None:
        """Request every piece from an undisturbed server, to compare with.

        Raises:
            FantasiaClientError: a call failed.
        """
        async with AsyncClient(undisturbed, timeout_seconds=_DEADLINE_SECONDS) as client:
            for seed, streamed in itertools.product(range(_DISTINCT), (False, True)):
                wanted = Wanted(seed, streamed)
                self.reference[wanted] = (await client.generate(bars=wanted.bars, seed=seed)).midi

    async def call_until(self, stopped: asyncio.Event, rate: float) -> CallsTally:
        """Send calls, whether or not earlier ones were answered, until the event is set, and wait for all answers.

        Args:
            stopped: ends the sending.
            rate: mean calls a second, at times of a Poisson process.
        """
        tally, draws = CallsTally(), random.Random(1)  # noqa: S311 - no secret
        due = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in itertools.count():
                due += draws.expovariate(rate)
                if await _is_set_within(stopped, max(due - time.perf_counter(), 0.0)):
                    break
                wanted = Wanted(draws.randrange(_DISTINCT), draws.random() < _STREAM_SHARE)
                group.create_task(self._call(self._clients[number % self._count], wanted, tally))
        return tally

    async def _call(self, client: AsyncClient, wanted: Wanted, tally: CallsTally) -> None:
        began, attempt, point = time.monotonic(), 0, _Progress()
        tally.calls += 1
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                while True:
                    attempt += 1
                    try:
                        piece = await self._attempt(client, wanted, point)
                        break
                    except (ServerBusyError, ServerUnavailableError) as error:
                        await asyncio.sleep(error.retry_after_seconds or _WAIT_SECONDS)
        except (FantasiaClientError, TimeoutError) as error:
            tally.failed += 1
            tally.errors.append(f"{type(error).__name__}: {error}")
            return
        finally:
            tally.max_seconds = max(tally.max_seconds, time.monotonic() - began)
            tally.retried += attempt > 1
            tally.resumed += point.resumed
        tally.different += piece.midi != self.reference[wanted]

    async def _attempt(self, client: AsyncClient, wanted: Wanted, progress: "_Progress") -> Piece:
        if not wanted.streamed:
            return await client.generate(bars=wanted.bars, seed=wanted.seed)
        if progress.point is None:
            stream = client.stream(bars=wanted.bars, seed=wanted.seed, return_resume_token=True)
        else:
            progress.resumed = True
            stream = client.stream(resume=progress.point, return_resume_token=True)
        try:
            async with stream:
                async for _ in stream:
                    pass
        finally:
            progress.point = stream.resume_point or progress.point
        assert stream.piece is not None
        return stream.piece


@dataclass(slots=True)
class _Progress:
    point: ResumePoint | None = None
    resumed: bool = False


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True


def total(tallies: Sequence[CallsTally]) -> CallsTally:
    """The sum of several tallies."""
    summed = CallsTally()
    for tally in tallies:
        for name in ("calls", "retried", "resumed", "failed", "different"):
            setattr(summed, name, getattr(summed, name) + getattr(tally, name))
        summed.max_seconds = max(summed.max_seconds, tally.max_seconds)
        summed.errors += tally.errors
    return summed
