"""A long primer, read by the prefill graph or step by step, and its effect on running sequences."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median
from typing import Final

from bench.bare_loop import BareLoop
from bench.comparison import MIN_ROUNDS, compare
from bench.options import BenchError
from bench.record import Prefill
from server.engine.engine import Engine
from server.engine.observer import EngineObserver
from server.engine.request import EngineRequest

TOKENS: Final = 2000
"""Of the primer."""
CONCURRENT: Final = 16
"""Sequences that run while the primer is read."""
SLOTS: Final = 64
_WARM_RUNS: Final = 8
_POLL_SECONDS: Final = 0.001
_TIMEOUT_SECONDS: Final = 60.0


class RunTimes(EngineObserver):
    """Keeps the end and the width of each run of the decode graph."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.widths: list[int] = []

    def chunk(self, width: int, steps: int, seconds: float) -> None:
        """See `EngineObserver.chunk`."""
        self.widths.append(width)
        self.ends.append(time.perf_counter())

    @property
    def gaps(self) -> list[float]:
        """Seconds from the end of each run to the end of the next."""
        return [later - earlier for earlier, later in pairwise(self.ends)]


def measure_prefill(
    bare: BareLoop, engine: Engine, times: RunTimes, requests: Sequence[EngineRequest], *, seconds: float
) -> Prefill:
    """Compare the time to the first token after a primer with a bare loop that steps through the primer.

    Args:
        bare: the reference.
        engine: started, with more slots than requests, and nothing else to do.
        times: the engine's observer.
        requests: all of one length, much longer than the primer. The first one's tokens become the primer; the others
            run while it is read.
        seconds: approximate duration of the comparison.

    Raises:
        BenchError: the others ended before the primer was read.
    """
    first, *others = requests
    written = engine.submit(replace(first, max_tokens=TOKENS)).future.result().tokens.tolist()
    primer = replace(first, forced=tuple(written), max_tokens=TOKENS + 1)

    def prefill_rate() -> float:
        return TOKENS / engine.submit(primer).future.result().first_token_seconds

    def stepping_rate() -> float:
        return TOKENS / bare.run([primer])[1]

    prefill_rate(), stepping_rate()  # warm up
    comparison = compare(stepping_rate, prefill_rate, seconds=seconds)
    stalls = [_stall(engine, times, primer, others) for _ in range(MIN_ROUNDS)]
    return Prefill(
        tokens=TOKENS,
        comparison=comparison,
        concurrent=len(others),
        gap_seconds=tuple(gap for gap, _ in stalls),
        run_seconds=tuple(run for _, run in stalls),
    )


def _stall(
    engine: Engine, times: RunTimes, primer: EngineRequest, others: Sequence[EngineRequest]
) -> tuple[float, float]:
    """Longest time between the ends of two runs while the primer is read, and the median such time before."""
    times.ends.clear()
    times.widths.clear()
    handles = [engine.submit(request) for request in others]
    try:
        _wait(
            lambda: times.widths[-_WARM_RUNS:] == [len(others)] * _WARM_RUNS,
            "the pieces beside the primer never ran in one batch",
        )
        before = times.gaps[-_WARM_RUNS + 1 :]
        at = len(times.ends) - 1
        engine.submit(primer).future.result()
        if any(handle.future.done() for handle in handles):
            raise BenchError("the concurrent pieces ended before the primer was read")
        return max(times.gaps[at:]), median(before)
    finally:
        for handle in handles:
            handle.cancel()
        _wait(lambda: not engine.running and not engine.waiting, "cancelled pieces keep their slots")


def _wait(condition: Callable[[], bool], failure: str) -> None:
    until = time.monotonic() + _TIMEOUT_SECONDS
    while not condition():
        if time.monotonic() > until:
            raise BenchError(failure)
        time.sleep(_POLL_SECONDS)
