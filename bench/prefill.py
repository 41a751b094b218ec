"""A long primer, read at once or step by step, and what that does to the streams of others."""

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median
from typing import Final

from bench.bare import BareLoop
from bench.errors import BenchError
from bench.rounds import LEAST_ROUNDS, interleaved
from bench.rows import Prefill
from server.engine.engine import Engine
from server.engine.observer import SilentObserver
from server.engine.request import EngineRequest

TOKENS: Final = 2000
OTHERS: Final = 16
_WARM_RUNS: Final = 8
_POLL_SECONDS: Final = 0.001
_PATIENCE_SECONDS: Final = 60.0


class RunTimes(SilentObserver):
    """Remembers when each run of the decode graph ended, and how many rows it had."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.widths: list[int] = []

    def chunk(self, width: int, steps: int, seconds: float) -> None:
        """Add a run."""
        self.widths.append(width)
        self.ends.append(time.perf_counter())

    @property
    def gaps(self) -> list[float]:
        """Seconds from each run's end to the next one's."""
        return [later - earlier for earlier, later in pairwise(self.ends)]


def measure_prefill(
    bare: BareLoop, engine: Engine, times: RunTimes, requests: Sequence[EngineRequest], *, seconds: float
) -> Prefill:
    """Compare the time to the first token after a primer with that of a bare loop that is told it step by step.

    Args:
        bare: the reference.
        engine: started, with more slots than there are requests, and nothing else to do.
        times: the engine's observer.
        requests: all of one length, a good deal longer than the primer; the first one's tokens become the primer, and
            the others run beside it.
        seconds: about how long it takes.

    Raises:
        BenchError: the others ended before the primer was through.
    """
    first, *others = requests
    written = engine.submit(replace(first, max_tokens=TOKENS)).future.result().tokens.tolist()
    primer = replace(first, forced=tuple(written), max_tokens=TOKENS + 1)

    def at_once() -> float:
        return TOKENS / engine.submit(primer).future.result().first_token_seconds

    at_once(), bare.run([primer])  # warm up both
    found = interleaved(lambda: TOKENS / bare.run([primer])[1], at_once, seconds=seconds)
    stalls = [_stall(engine, times, primer, others) for _ in range(LEAST_ROUNDS)]
    return Prefill(
        tokens=TOKENS,
        comparison=found,
        others=len(others),
        gap_seconds=tuple(gap for gap, _ in stalls),
        run_seconds=tuple(run for _, run in stalls),
    )


def _stall(
    engine: Engine, times: RunTimes, primer: EngineRequest, others: Sequence[EngineRequest]
) -> tuple[float, float]:
    """Longest time between the ends of two runs while the primer is read, and the median such time before it came."""
    tickets = [engine.submit(request) for request in others]
    try:
        _await_runs(times, len(others))
        before = times.gaps[-_WARM_RUNS + 1 :]
        at = len(times.ends) - 1
        engine.submit(primer).future.result()
        if any(ticket.future.done() for ticket in tickets):
            raise BenchError("the pieces beside the primer ended before it was read")
        return max(times.gaps[at:]), median(before)
    finally:
        for ticket in tickets:
            ticket.cancel()
        engine_idle(engine)


def _await_runs(times: RunTimes, width: int) -> None:
    """Wait until a number of runs had all rows."""
    times.ends.clear()
    times.widths.clear()
    until = time.monotonic() + _PATIENCE_SECONDS
    while times.widths[-_WARM_RUNS:] != [width] * _WARM_RUNS:
        if time.monotonic() > until:
            raise BenchError("the pieces beside the primer never ran side by side")
        time.sleep(_POLL_SECONDS)


def engine_idle(engine: Engine) -> None:
    """Wait until nobody runs and nobody waits."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while (engine.running or engine.waiting) and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)
