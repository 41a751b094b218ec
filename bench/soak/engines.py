"""One engine under random load: requests arrive in bursts, share batches and are cancelled."""

import random
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from bench.options import Provider
from bench.soak.answers import Answer
from bench.soak.evaluation import evaluation_mismatches
from bench.soak.pool import RequestPool, TokenListener
from bench.soak.record import EngineRun, Mismatch
from bench.systems import make_runner
from music.bundle import Bundle, load_bundle
from runtime.precision import Precision
from server.engine.completion import RequestHandle
from server.engine.engine import Engine
from server.engine.errors import QueueFullError
from server.engine.observer import EngineObserver

_QUEUE_LIMIT: Final = 64
_CANCELLED_SHARE: Final = 0.1
_MAX_BURST: Final = 24
_STREAMED_SHARE: Final = 0.5
"""Of the requests for one candidate, those whose tokens are read while they run."""
_PAUSE_SECONDS: Final = 0.004
_MAX_MISMATCHES: Final = 5


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Settings that must not change an answer."""

    slots: int
    width: int
    """Maximum batch size of one run."""
    threads: int
    chunk_sizes: tuple[int, ...]
    precision: Precision
    provider: Provider
    seed: int
    """Of arrivals and cancellations."""


class WidestRun(EngineObserver):
    """Keeps the number of rows of the widest run."""

    def __init__(self) -> None:
        self.rows = 0

    def chunk(self, width: int, steps: int, seconds: float) -> None:
        """See `EngineObserver.chunk`."""
        self.rows = max(self.rows, width)


@dataclass(slots=True)
class _InFlight:
    index: int
    handle: RequestHandle
    cancel_at: float | None
    listener: TokenListener | None


def run_engine(
    path: Path, pool: RequestPool, settings: EngineSettings, *, requests: int, number: int
) -> tuple[EngineRun, list[Mismatch]]:
    """Load the bundle, start an engine, send requests until so many were answered, and stop the engine.

    Requests are drawn from the pool and arrive in bursts with pauses. About one in ten is cancelled: at once, while it
    waits or while it runs. The engine stops while the last requests run; they are not counted. Then pieces of the pool
    are evaluated in random batches.

    Args:
        path: of the bundle.
        pool: requests, and their answers alone.
        settings: of the engine.
        requests: answers to compare.
        number: index of the engine, for the record.
    """
    bundle = load_bundle(path)
    runner = make_runner(
        bundle,
        slots=settings.slots,
        max_batch_size=settings.width,
        provider=settings.provider,
        threads=settings.threads,
        precision=settings.precision,
        chunk_sizes=settings.chunk_sizes,
    )
    widest = WidestRun()
    engine = Engine(runner, queue_limit=_QUEUE_LIMIT, observer=widest, name=bundle.name)
    engine.start()
    answered = cancelled = tokens = streamed = 0
    mismatches: list[Mismatch] = []
    try:
        for request in _results(engine, pool, bundle, settings.seed):
            if request.handle.future.cancelled():
                cancelled += 1
                continue
            answer, index = Answer.of(request.handle.future), request.index
            answered += 1
            tokens += sum(len(candidate.tokens) for candidate in answer.candidates)
            position = pool.answers[index].first_difference(answer)
            if position is None and request.listener is not None:
                streamed += 1
                position = _first_stream_difference(request.listener, answer)
            if position is not None:
                mismatches.append(Mismatch(request=str(pool.requests[index]), engine=number, position=position))
            if answered == requests:
                break
    finally:
        engine.stop()
    evaluated, wrong = evaluation_mismatches(bundle, pool, settings.seed, settings.threads)
    mismatches += [Mismatch(request=text, engine=number, position=position) for text, position in wrong]
    run = EngineRun(
        slots=settings.slots,
        width=settings.width,
        threads=settings.threads,
        chunk_sizes=settings.chunk_sizes,
        requests=answered,
        cancelled=cancelled,
        streamed=streamed,
        evaluated=evaluated,
        tokens=tokens,
        mismatches=len(mismatches),
        max_width=widest.rows,
    )
    return run, mismatches[:_MAX_MISMATCHES]


def _first_stream_difference(listener: TokenListener, answer: Answer) -> int | None:
    """First token that a stream told otherwise than the answer; None if none."""
    if not answer.candidates:  # it ended without a token that was allowed
        return None
    streamed, tokens = listener.all_tokens, answer.candidates[0].tokens
    shared = min(len(streamed), len(tokens))
    places = np.flatnonzero(streamed[:shared] != tokens[:shared])
    if len(places):
        return int(places[0])
    return None if len(streamed) == len(tokens) else shared


def _results(engine: Engine, pool: RequestPool, bundle: Bundle, seed: int) -> Iterator[_InFlight]:
    """Each request when it is done or cancelled. Never ends."""
    generator = random.Random(seed)  # noqa: S311 - no secret
    engine_requests = pool.engine_requests(bundle)
    possible = [index for index, request in enumerate(engine_requests) if request.candidates <= engine.slots]
    in_flight: list[_InFlight] = []
    while True:
        # Sometimes one request at a time, sometimes a full queue.
        concurrent = max(generator.choice((1, engine.slots // 2, engine.slots, engine.slots + _QUEUE_LIMIT)), 1)
        for _ in range(generator.randint(1, _MAX_BURST)):
            if len(in_flight) >= concurrent:
                break
            index = generator.choice(possible)
            streams = engine_requests[index].candidates == 1 and generator.random() < _STREAMED_SHARE
            listener = TokenListener() if streams else None
            try:
                handle = engine.submit(engine_requests[index], listener)
            except QueueFullError:  # cancelled requests may still hold their slots
                break
            cancelled = generator.random() < _CANCELLED_SHARE
            delay = generator.choice((0.0, 0.001, 0.01, 0.05)) * generator.random()
            in_flight.append(_InFlight(index, handle, time.monotonic() + delay if cancelled else None, listener))
        now = time.monotonic()
        for request in in_flight:
            if request.cancel_at is not None and request.cancel_at <= now:
                request.handle.cancel()
        if generator.random() < 0.5:
            wait([request.handle.future for request in in_flight], _PAUSE_SECONDS, FIRST_COMPLETED)
        else:
            time.sleep(generator.random() * _PAUSE_SECONDS)
        done = [request for request in in_flight if request.handle.future.done()]
        in_flight = [request for request in in_flight if request not in done]
        yield from done
