"""The engine against the bare loop."""

import time
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.bare import BareLoop
from bench.rounds import interleaved
from bench.rows import EngineRow
from server.engine.engine import Engine
from server.engine.observer import SilentObserver
from server.engine.request import EngineRequest

_CONTROL_SHARE: Final = 1 / 3


class RunClock(SilentObserver):
    """Adds up the time inside the runner."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def chunk(self, width: int, steps: int, seconds: float) -> None:
        """Add a run."""
        self.seconds += seconds


def measure_engine(
    bare: BareLoop,
    twin: BareLoop,
    engine: Engine,
    run_clock: RunClock,
    requests: Sequence[EngineRequest],
    *,
    seconds: float,
) -> EngineRow:
    """Compare them on the same requests, as many as the width.

    Args:
        bare: the reference.
        twin: another one, for the control. Equal sessions of one process were seen to differ in speed by some
            per cent, and to keep to it.
        engine: started, with a slot for each request and nothing else to do.
        run_clock: the engine's observer.
        requests: all of one length, at most as many as there are slots.
        seconds: about how long it takes.
    """
    count = sum(request.max_tokens for request in requests)
    same = bool(np.array_equal(bare.run(requests)[0], _decode(engine, requests)))  # which warms up both
    twin.run(requests)
    run_clock.seconds = spent = 0.0

    def rate() -> float:
        nonlocal spent
        began = time.perf_counter()
        _decode(engine, requests)
        took = time.perf_counter() - began
        spent += took
        return count / took

    def bare_rate() -> float:
        return count / bare.run(requests)[1]

    comparison = interleaved(bare_rate, rate, seconds=seconds * (1 - _CONTROL_SHARE))
    control = interleaved(bare_rate, lambda: count / twin.run(requests)[1], seconds=seconds * _CONTROL_SHARE)
    return EngineRow(
        width=len(requests),
        comparison=comparison,
        control=control,
        run_share=run_clock.seconds / spent,
        same_tokens=same,
    )


def decode_rate(engine: Engine, requests: Sequence[EngineRequest]) -> float:
    """Tokens a second of the engine on these requests, all at once."""
    began = time.perf_counter()
    tokens = _decode(engine, requests).size
    return tokens / (time.perf_counter() - began)


def _decode(engine: Engine, requests: Sequence[EngineRequest]) -> NDArray[np.int32]:
    tickets = [engine.submit(request) for request in requests]
    return np.stack([ticket.future.result().tokens for ticket in tickets])
