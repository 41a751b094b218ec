"""Clients that ask for a piece, wait for it and ask for the next, all in one process of their own."""

import asyncio
import itertools
import time
from collections.abc import Coroutine, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from bench.callers import Call, Caller, Target, calling
from bench.errors import BenchError
from fantasia_client import CallCancelledError, FantasiaClientError

_SHORTEST_WINDOW_SECONDS: Final = 0.5
_PIECES_A_WINDOW: Final = 1.5  # more than one, so that some end in it

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Round:
    """What the clients saw while all of them were busy."""

    opened: float
    closed: float
    calls: tuple[Call, ...]
    """Every call that overlaps the window between `opened` and `closed`."""

    @property
    def rate(self) -> float:
        """Tokens a second within the window."""
        return tokens_within(self.opened, self.closed, self.calls) / (self.closed - self.opened)

    @property
    def finished(self) -> list[Call]:
        """The calls that ended within the window."""
        return [call for call in self.calls if self.opened < call.ended <= self.closed]

    @property
    def digests(self) -> set[str]:
        """Of the bundles that wrote the pieces."""
        return {call.digest for call in self.calls}


def tokens_within(opened: float, closed: float, calls: Iterable[Call]) -> float:
    """Tokens of the window: each call gives the part of its own that its overlap with the window is of it.

    To count only calls that ended inside would round to whole pieces.
    """
    return sum(call.tokens * part_within(opened, closed, call.began, call.ended) for call in calls)


def part_within(opened: float, closed: float, began: float, ended: float) -> float:
    """How much of the time from `began` to `ended` lies in the window, 0 to 1."""
    return max(min(ended, closed) - max(began, opened), 0.0) / (ended - began)


def play_round(target: Target, clients: int, steps: int, first_seed: int) -> Round:
    """Have clients ask for one piece after the other, and look at a while in which all of them do.

    Their first pieces differ in length, from a part to the whole, so that they do not come in step
    afterwards, as callers in the world do not. The window opens when the last of the first pieces is there
    and is half as long again as that took.

    Args:
        target: whom to ask.
        clients: how many at once.
        steps: length of a piece.
        first_seed: of the seeds, which count up from there.

    Raises:
        BenchError: a call failed.
    """
    return played(_play(target, clients, steps, first_seed))


def played(play: Coroutine[Any, Any, T]) -> T:
    """Run it in an event loop of its own.

    Raises:
        BenchError: a call failed.
    """
    try:
        return asyncio.run(play)
    except (FantasiaClientError, ExceptionGroup) as error:
        leaves = list(_leaves(error))
        if not all(isinstance(leaf, FantasiaClientError) for leaf in leaves):
            raise
        # The first failure cancels the other calls. Its text alone: the client's own errors do not all survive the way
        # to the other process.
        first = next((leaf for leaf in leaves if not isinstance(leaf, CallCancelledError)), leaves[0])
        raise BenchError(f"a call failed: {first}") from None


def _leaves(error: Exception) -> Iterator[Exception]:
    if isinstance(error, ExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error


async def _play(target: Target, clients: int, steps: int, first_seed: int) -> Round:
    seeds = itertools.count(first_seed)
    calls: list[Call] = []
    begun = 0
    all_begun, closing = asyncio.Event(), asyncio.Event()

    async def play(caller: Caller, index: int) -> None:
        nonlocal begun
        calls.append(await caller.write(max(steps * (index + 1) // clients, 1), next(seeds)))
        begun += 1
        if begun == clients:
            all_begun.set()
        while not closing.is_set():
            calls.append(await caller.write(steps, next(seeds)))

    async with calling(target) as caller:
        await caller.connect()
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for index in range(clients):
                group.create_task(play(caller, index))
            await all_begun.wait()
            opened = time.perf_counter()
            await asyncio.sleep(max((opened - began) * _PIECES_A_WINDOW, _SHORTEST_WINDOW_SECONDS))
            closed = time.perf_counter()
            closing.set()
    overlapping = tuple(call for call in calls if call.ended > opened and call.began < closed)
    return Round(opened, closed, overlapping)
