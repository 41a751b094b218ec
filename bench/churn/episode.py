"""One life of an engine under a crowd that comes, goes and gives up at random."""

import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.churn.pool import Answer, Pool
from bench.churn.record import Episode, Mismatch
from bench.options import Provider
from bench.runners import make_runner
from music.bundle import load_bundle
from server.engine.engine import Engine
from server.engine.errors import QueueFullError
from server.engine.observer import SilentObserver
from server.engine.precision import Precision
from server.engine.ticket import Ticket

_QUEUE_LIMIT: Final = 64
_CANCELLED_SHARE: Final = 0.1
_LONGEST_BURST: Final = 24
_PAUSE_SECONDS: Final = 0.004
_MISMATCHES_TOLD: Final = 5


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What must not matter."""

    slots: int
    width: int
    """Rows of a run at most."""
    threads: int
    chunk_sizes: tuple[int, ...]
    precision: Precision
    provider: Provider
    seed: int
    """Of who comes when, and who gives up when."""


class Widest(SilentObserver):
    """Remembers the widest run."""

    def __init__(self) -> None:
        self.rows = 0

    def chunk(self, width: int, steps: int, seconds: float) -> None:
        """Look at a run."""
        self.rows = max(self.rows, width)


@dataclass(slots=True)
class _InFlight:
    index: int
    ticket: Ticket
    given_up_at: float | None


def live(
    path: Path, pool: Pool, circumstances: Circumstances, *, requests: int, number: int
) -> tuple[Episode, list[Mismatch]]:
    """Load the bundle, start an engine, let a crowd come until so many were answered, and stop the engine.

    Each comes from the pool at random, in bursts with pauses between; about one in ten gives up, at once, while it
    waits or while it runs. The engine stops while the last of them still run: those count as given up.

    Args:
        path: of the bundle.
        pool: the requests and what each writes alone.
        circumstances: of this life.
        requests: answers to compare.
        number: of the episode, for the record.
    """
    bundle = load_bundle(path)
    runner = make_runner(
        bundle,
        slots=circumstances.slots,
        width=circumstances.width,
        provider=circumstances.provider,
        threads=circumstances.threads,
        precision=circumstances.precision,
        chunk_sizes=circumstances.chunk_sizes,
    )
    widest = Widest()
    engine = Engine(runner, queue_limit=_QUEUE_LIMIT, observer=widest, name=bundle.name)
    engine.start()
    answered = cancelled = tokens = mismatches = 0
    told: list[Mismatch] = []
    try:
        for index, answer in _crowd(engine, pool, circumstances.seed):
            if answer is None:
                cancelled += 1
                continue
            answered += 1
            tokens += len(answer.tokens)
            if not answer.same(pool.answers[index]):
                mismatches += 1
                if len(told) < _MISMATCHES_TOLD:
                    told.append(_mismatch(pool, index, answer, number))
            if answered == requests:
                break
    finally:
        engine.stop()
    episode = Episode(
        slots=circumstances.slots,
        width=circumstances.width,
        threads=circumstances.threads,
        chunk_sizes=circumstances.chunk_sizes,
        requests=answered,
        cancelled=cancelled,
        tokens=tokens,
        mismatches=mismatches,
        widest=widest.rows,
    )
    return episode, told


def _crowd(engine: Engine, pool: Pool, seed: int) -> Iterator[tuple[int, Answer | None]]:
    """Who was answered, and with what; None for those that gave up."""
    dice = random.Random(seed)  # noqa: S311 -- who comes when is no secret
    in_flight: list[_InFlight] = []
    room = engine.slots + _QUEUE_LIMIT
    while True:
        # Sometimes a full house, sometimes nobody but one.
        aim = dice.choice((1, engine.slots // 2, engine.slots, room))
        for _ in range(dice.randint(1, _LONGEST_BURST)):
            if len(in_flight) >= max(aim, 1):
                break
            index = dice.randrange(len(pool.requests))
            try:
                ticket = engine.submit(pool.requests[index])
            except QueueFullError:  # those that gave up may still hold their slots
                break
            leaves = dice.random() < _CANCELLED_SHARE
            patience = dice.choice((0.0, 0.001, 0.01, 0.05)) * dice.random()
            in_flight.append(_InFlight(index, ticket, time.monotonic() + patience if leaves else None))
        now = time.monotonic()
        for member in in_flight:
            if member.given_up_at is not None and member.given_up_at <= now:
                member.ticket.cancel()
        if dice.random() < 0.5:
            wait([member.ticket.future for member in in_flight], _PAUSE_SECONDS, FIRST_COMPLETED)
        else:
            time.sleep(dice.random() * _PAUSE_SECONDS)
        done = [member for member in in_flight if member.ticket.future.done()]
        in_flight = [member for member in in_flight if not member.ticket.future.done() and member not in done]
        for member in done:
            future = member.ticket.future
            yield member.index, None if future.cancelled() else Answer.of(future.result())


def _mismatch(pool: Pool, index: int, answer: Answer, number: int) -> Mismatch:
    return Mismatch(
        request=str(pool.requests[index]),
        episode=number,
        place=first_difference(pool.answers[index].tokens.tolist(), answer.tokens.tolist()),
    )


def partings(ours: Sequence[Answer], theirs: Sequence[Answer]) -> list[int]:
    """For each of the answers to the same requests that is not the same, the first token that is not."""
    return [
        first_difference(one.tokens.tolist(), other.tokens.tolist())
        for one, other in zip(ours, theirs, strict=True)
        if not one.same(other)
    ]


def first_difference(one: Sequence[int], other: Sequence[int]) -> int:
    """Where two sequences part; the length of the shorter where one is the beginning of the other."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (ours, theirs) in pairs if ours != theirs), min(len(one), len(other)))
