"""Clients that come when they come, whether or not others have been answered; and calls one at a time."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.callers import Call, Caller, Target, calling
from bench.load import part_within, played
from fantasia_client import ServerBusyError

_LEAD_SECONDS: Final = 0.1  # from drawing up the arrivals to the first
_SETTLE_SHARE: Final = 0.1  # of the time, at its beginning, when queues are not what they will be


@dataclass(frozen=True, slots=True)
class Arrival:
    """One call of the crowd. Times are of `time.perf_counter`, in the clients' process."""

    intended: float
    """When it was drawn to come."""
    sent: float
    """When the clients came to it."""
    call: Call | None
    """Its answer, as from the intended arrival; None if it was rejected."""
    answered: float


@dataclass(frozen=True, slots=True)
class Crowd:
    """All that came at one rate."""

    seconds: float
    """For how long they came."""
    arrivals: tuple[Arrival, ...]
    """In the order in which they were to come."""

    @property
    def settled(self) -> list[Arrival]:
        """Those after the beginning."""
        first = self.arrivals[0].intended
        return [arrival for arrival in self.arrivals if arrival.intended >= first + _SETTLE_SHARE * self.seconds]

    @property
    def written(self) -> list[Call]:
        """What the settled ones got."""
        return [arrival.call for arrival in self.settled if arrival.call is not None]

    @property
    def rejected(self) -> list[Arrival]:
        """Those of the settled ones that were to come back later."""
        return [arrival for arrival in self.settled if arrival.call is None]

    @property
    def goodput(self) -> float:
        """Tokens a second from the first rejection, but at latest from half way, until no more came.

        A piece counts by the part of its time in a slot that lies in between.
        """
        closed = self.arrivals[-1].intended
        half_way = (self.arrivals[0].intended + closed) / 2
        opened = min([half_way, *(arrival.answered for arrival in self.arrivals if arrival.call is None)])
        calls = (arrival.call for arrival in self.arrivals if arrival.call is not None)
        tokens = sum(call.tokens * part_within(opened, closed, *call.running) for call in calls)
        return tokens / (closed - opened)


def poisson_arrivals(rate: float, seconds: float, seed: int) -> NDArray[np.float64]:
    """Times from 0 at which calls of a Poisson process come, ascending; two at least."""
    generator = np.random.default_rng(seed)
    expected = rate * seconds
    gaps = generator.exponential(1.0 / rate, int(expected + 6.0 * expected**0.5 + 16))
    times: NDArray[np.float64] = np.cumsum(gaps)
    return times[: max(int(np.searchsorted(times, seconds)), 2)]


def play_crowd(target: Target, rate: float, seconds: float, steps: int, seed: int) -> Crowd:
    """Send calls at times that were drawn beforehand, whatever becomes of those before them.

    Args:
        target: whom to ask.
        rate: calls a second.
        seconds: for how long they come.
        steps: length of a piece.
        seed: of the arrivals and, counting up from there, of the pieces.

    Raises:
        BenchError: a call failed otherwise than by being rejected.
    """
    return played(_crowd(target, poisson_arrivals(rate, seconds, seed), seconds, steps, seed))


def play_singly(target: Target, calls: int, pause_seconds: float, steps: int, seed: int) -> list[Call]:
    """Ask for one piece at a time, with pauses of random length between the calls.

    Raises:
        BenchError: a call failed.
    """
    return played(_singly(target, calls, pause_seconds, steps, seed))


def play_behind(
    target: Target, *, others: int, other_steps: int, calls: int, steps: int, pause_seconds: float, seed: int
) -> list[Call]:
    """Do the same while other calls ask for long pieces, which are given up at the end.

    Returns:
        the calls; none if one of the others was answered before they were done.

    Raises:
        BenchError: a call failed.
    """
    return played(_behind(target, others, other_steps, calls, steps, pause_seconds, seed))


async def _crowd(target: Target, times: NDArray[np.float64], seconds: float, steps: int, seed: int) -> Crowd:
    arrivals: list[Arrival] = []

    async def ask(caller: Caller, intended: float, seed: int) -> None:
        sent = time.perf_counter()
        try:
            call = await caller.write(steps, seed)
        except ServerBusyError:
            arrivals.append(Arrival(intended, sent, None, time.perf_counter()))
        else:
            arrivals.append(Arrival(intended, sent, _since(call, intended), call.ended))

    async with calling(target) as caller:
        await caller.connect()
        begin = time.perf_counter() + _LEAD_SECONDS
        async with asyncio.TaskGroup() as group:
            for number, offset in enumerate(times.tolist()):
                if (wait := begin + offset - time.perf_counter()) > 0.0:
                    await asyncio.sleep(wait)
                group.create_task(ask(caller, begin + offset, seed + number))
    return Crowd(seconds, tuple(sorted(arrivals, key=lambda arrival: arrival.intended)))


async def _singly(target: Target, calls: int, pause_seconds: float, steps: int, seed: int) -> list[Call]:
    async with calling(target) as caller:
        await caller.connect()
        return await _one_by_one(caller, calls, pause_seconds, steps, range(seed, seed + calls))


async def _behind(
    target: Target, others: int, other_steps: int, calls: int, steps: int, pause_seconds: float, seed: int
) -> list[Call]:
    async with calling(target) as caller:
        await caller.connect()
        seeds = count(seed + calls)
        long = [asyncio.create_task(caller.write(other_steps, next(seeds))) for _ in range(others)]
        try:
            await asyncio.sleep(1.0)  # by then all of them have a slot
            made = await _one_by_one(caller, calls, pause_seconds, steps, range(seed, seed + calls))
            return [] if any(task.done() for task in long) else made
        finally:
            for task in long:
                task.cancel()
            await asyncio.gather(*long, return_exceptions=True)


async def _one_by_one(caller: Caller, calls: int, pause_seconds: float, steps: int, seeds: Sequence[int]) -> list[Call]:
    pauses = random.Random(seeds[0])  # noqa: S311 -- when a client calls is no secret
    made = []
    for seed in seeds:
        await asyncio.sleep(pauses.expovariate(1.0 / pause_seconds))
        made.append(await caller.write(steps, seed))
    return made


def _since(call: Call, intended: float) -> Call:
    """The call as if it had been sent when it was to be."""
    return Call(
        intended,
        call.ended,
        call.tokens,
        call.queue_seconds,
        call.first_token_seconds,
        call.engine_seconds,
        call.digest,
    )
