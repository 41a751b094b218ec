"""Load on a server from a process of its own: closed loop, open loop, one call at a time."""

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.clients import Call, Client, Target, open_client
from bench.machine import pin_to
from bench.options import BenchError
from fantasia_client import CallCancelledError, FantasiaClientError, ServerBusyError

_SEEDS: Final = 1 << 24  # apart from one measurement to the next
_MIN_WINDOW_SECONDS: Final = 0.5
_PIECES_PER_WINDOW: Final = 1.5  # more than one, so that some end in it
_PAUSE_SECONDS: Final = 0.02  # mean pause between single calls
_LEAD_SECONDS: Final = 0.1  # before the first open-loop arrival
_WARM_UP_SHARE: Final = 0.1  # of an open loop's time, until the length of the queue is steady

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Window:
    """A time in which all closed-loop clients were busy."""

    opened: float
    closed: float
    calls: tuple[Call, ...]
    """Every call that overlaps the window."""

    @property
    def rate(self) -> float:
        """Tokens a second. A call counts by the part of it that lies in the window."""
        tokens = (call.tokens * overlap(self.opened, self.closed, call.began, call.ended) for call in self.calls)
        return sum(tokens) / (self.closed - self.opened)

    @property
    def finished(self) -> list[Call]:
        """The calls that ended in the window."""
        return [call for call in self.calls if self.opened < call.ended <= self.closed]

    @property
    def digests(self) -> set[str]:
        """Digests of the bundles that wrote the pieces."""
        return {call.digest for call in self.calls}


@dataclass(frozen=True, slots=True)
class Arrival:
    """One open-loop call. Times are of `time.perf_counter` in the clients' process."""

    intended: float
    """When it was drawn to arrive."""
    sent: float
    call: Call | None
    """The answer, counted from the intended arrival; None if the call was rejected."""
    answered: float


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """All calls that arrived at one rate."""

    seconds: float
    """How long calls arrived."""
    arrivals: tuple[Arrival, ...]
    """In the order of the intended arrivals."""

    @property
    def measured(self) -> list[Arrival]:
        """The calls that are measured: those after the warm-up."""
        first = self.arrivals[0].intended
        return [arrival for arrival in self.arrivals if arrival.intended >= first + _WARM_UP_SHARE * self.seconds]

    @property
    def answered(self) -> list[Call]:
        """Answers of the measured calls."""
        return [arrival.call for arrival in self.measured if arrival.call is not None]

    @property
    def rejected(self) -> list[Arrival]:
        """The measured calls that were rejected."""
        return [arrival for arrival in self.measured if arrival.call is None]

    @property
    def goodput(self) -> float:
        """Tokens a second from the first rejection, or half of the time if that is earlier, to the last arrival.

        A piece counts by the part of its time in a slot that lies in between.
        """
        closed = self.arrivals[-1].intended
        half = (self.arrivals[0].intended + closed) / 2
        opened = min([half, *(arrival.answered for arrival in self.arrivals if arrival.call is None)])
        calls = (arrival.call for arrival in self.arrivals if arrival.call is not None)
        return sum(call.tokens * overlap(opened, closed, *call.running) for call in calls) / (closed - opened)


def overlap(opened: float, closed: float, began: float, ended: float) -> float:
    """Part of the time from `began` to `ended` that lies in the window, 0 to 1."""
    return max(min(ended, closed) - max(began, opened), 0.0) / (ended - began)


class LoadGenerator:
    """Sends load to one server from another process. Every measurement has its own seeds.

    Args:
        executor: runs the clients, see `client_process`.
        target: the server.
    """

    def __init__(self, executor: Executor, target: Target) -> None:
        self.executor, self.target = executor, target
        self._seeds = itertools.count(0, _SEEDS)

    def closed_loop(self, clients: int, steps: int) -> Window:
        """See `closed_loop`."""
        return self._run(closed_loop, clients, steps, next(self._seeds))

    def open_loop(self, rate: float, seconds: float, steps: int) -> OpenLoop:
        """See `open_loop`."""
        return self._run(open_loop, rate, seconds, steps, next(self._seeds))

    def single_calls(self, calls: int, steps: int) -> list[Call]:
        """See `single_calls`."""
        return self._run(single_calls, calls, steps, next(self._seeds))

    def calls_under_load(self, calls: int, steps: int, *, others: int, other_steps: int) -> list[Call]:
        """See `calls_under_load`."""
        return self._run(calls_under_load, calls, steps, others, other_steps, next(self._seeds))

    def _run(self, load: Callable[..., Coroutine[Any, Any, T]], *arguments: float) -> T:
        return self.executor.submit(run_load, load, self.target, *arguments).result()


@contextmanager
def client_process(cores: frozenset[int]) -> Iterator[Executor]:
    """A new process for the clients, pinned to cores."""
    with ProcessPoolExecutor(1, get_context("spawn"), pin_to, (cores,)) as executor:
        yield executor


def run_load(load: Callable[..., Coroutine[Any, Any, T]], target: Target, *arguments: float) -> T:
    """Connect to the target and run one of the coroutines below in an event loop of its own.

    Raises:
        BenchError: a call failed.
    """

    async def connected() -> T:
        async with open_client(target) as client:
            await client.connect()
            return await load(client, *arguments)

    try:
        return asyncio.run(connected())
    except (FantasiaClientError, ExceptionGroup) as error:
        leaves = list(_leaves(error))
        if not all(isinstance(leaf, FantasiaClientError) for leaf in leaves):
            raise
        # The first failure cancels the other calls. Its text alone: not all client errors can be pickled.
        first = next((leaf for leaf in leaves if not isinstance(leaf, CallCancelledError)), leaves[0])
        raise BenchError(f"a call failed: {first}") from None


async def closed_loop(client: Client, clients: int, steps: int, first_seed: int) -> Window:
    """Clients that request a piece, wait for it and request the next, seen while all of them are busy.

    First pieces differ in length, so that clients do not stay synchronised. The window opens when the last of the first
    pieces is answered, and is half as long again as the time until then.

    Args:
        client: connection.
        clients: number of concurrent requests.
        steps: length of a piece.
        first_seed: seeds count up from here.
    """
    seeds = itertools.count(first_seed)
    calls: list[Call] = []
    started = 0
    all_started, closing = asyncio.Event(), asyncio.Event()

    async def request_pieces(index: int) -> None:
        nonlocal started
        calls.append(await client.generate(max(steps * (index + 1) // clients, 1), next(seeds)))
        started += 1
        if started == clients:
            all_started.set()
        while not closing.is_set():
            calls.append(await client.generate(steps, next(seeds)))

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for index in range(clients):
            group.create_task(request_pieces(index))
        await all_started.wait()
        opened = time.perf_counter()
        await asyncio.sleep(max((opened - began) * _PIECES_PER_WINDOW, _MIN_WINDOW_SECONDS))
        closed = time.perf_counter()
        closing.set()
    return Window(opened, closed, tuple(call for call in calls if call.ended > opened and call.began < closed))


async def open_loop(client: Client, rate: float, seconds: float, steps: int, seed: int) -> OpenLoop:
    """Calls at times drawn beforehand, whether or not earlier calls were answered.

    Args:
        client: connection.
        rate: calls a second.
        seconds: how long calls arrive.
        steps: length of a piece.
        seed: of the arrivals and, counting up, of the pieces.
    """
    arrivals: list[Arrival] = []

    async def request(intended: float, seed: int) -> None:
        sent = time.perf_counter()
        try:
            call = await client.generate(steps, seed)
        except ServerBusyError:
            arrivals.append(Arrival(intended, sent, None, time.perf_counter()))
        else:
            arrivals.append(Arrival(intended, sent, replace(call, began=intended), call.ended))

    begin = time.perf_counter() + _LEAD_SECONDS
    async with asyncio.TaskGroup() as group:
        for number, offset in enumerate(poisson_arrivals(rate, seconds, seed).tolist()):
            if (wait := begin + offset - time.perf_counter()) > 0.0:
                await asyncio.sleep(wait)
            group.create_task(request(begin + offset, seed + number))
    return OpenLoop(seconds, tuple(sorted(arrivals, key=lambda arrival: arrival.intended)))


def poisson_arrivals(rate: float, seconds: float, seed: int) -> NDArray[np.float64]:
    """Arrival times of a Poisson process from 0, ascending; at least two."""
    generator = np.random.default_rng(seed)
    expected = rate * seconds
    gaps = generator.exponential(1.0 / rate, int(expected + 6.0 * expected**0.5 + 16))
    times: NDArray[np.float64] = np.cumsum(gaps)
    return times[: max(int(np.searchsorted(times, seconds)), 2)]


async def single_calls(client: Client, calls: int, steps: int, seed: int) -> list[Call]:
    """One call at a time, with pauses of random length in between."""
    pauses = random.Random(seed)  # noqa: S311 - no secret
    made = []
    for number in range(calls):
        await asyncio.sleep(pauses.expovariate(1.0 / _PAUSE_SECONDS))
        made.append(await client.generate(steps, seed + number))
    return made


async def calls_under_load(
    client: Client, calls: int, steps: int, others: int, other_steps: int, seed: int
) -> list[Call]:
    """`single_calls` while `others` calls request long pieces, which are cancelled at the end.

    Returns:
        the single calls; none if a long piece was answered before they were done.
    """
    long = [asyncio.create_task(client.generate(other_steps, seed + calls + index)) for index in range(others)]
    try:
        await asyncio.sleep(1.0)  # by then all of them have a slot
        made = await single_calls(client, calls, steps, seed)
        return [] if any(task.done() for task in long) else made
    finally:
        for task in long:
            task.cancel()
        await asyncio.gather(*long, return_exceptions=True)


def _leaves(error: Exception) -> Iterator[Exception]:
    if isinstance(error, ExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error
