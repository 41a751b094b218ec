"""The engine against the bare loop, and int8 against float32."""

import time
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.bare_loop import BareLoop
from bench.comparison import compare
from bench.record import EngineRow, PrecisionRow
from server.engine.engine import Engine
from server.engine.observer import EngineObserver
from server.engine.request import EngineRequest

PRECISION_WIDTHS: Final = (1, 8, 64)
_CONTROL_SHARE: Final = 1 / 3


class RunnerClock(EngineObserver):
    """Adds up the time inside the runner."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def chunk(self, width: int, steps: int, seconds: float) -> None:
        """See `EngineObserver.chunk`."""
        self.seconds += seconds


def measure_engine(
    bare: BareLoop,
    control_loop: BareLoop,
    engine: Engine,
    clock: RunnerClock,
    requests: Sequence[EngineRequest],
    *,
    seconds: float,
) -> EngineRow:
    """Compare engine and bare loop on the same requests.

    Args:
        bare: the reference.
        control_loop: another bare loop, for the control: equal sessions of one process can differ in speed by some
            percent.
        engine: started, with a slot for each request and nothing else to do.
        clock: the engine's observer.
        requests: all of one length, as many as the width.
        seconds: approximate duration.
    """
    count = sum(request.max_tokens for request in requests)
    same = bool(np.array_equal(bare.run(requests)[0], _decode(engine, requests)))  # this is the warm-up, too
    control_loop.run(requests)
    clock.seconds = spent = 0.0

    def engine_rate() -> float:
        nonlocal spent
        began = time.perf_counter()
        _decode(engine, requests)
        took = time.perf_counter() - began
        spent += took
        return count / took

    comparison = compare(lambda: bare.rate(requests), engine_rate, seconds=seconds * (1 - _CONTROL_SHARE))
    control = compare(
        lambda: bare.rate(requests), lambda: control_loop.rate(requests), seconds=seconds * _CONTROL_SHARE
    )
    return EngineRow(
        width=len(requests),
        comparison=comparison,
        control=control,
        runner_share=clock.seconds / spent,
        same_tokens=same,
    )


def measure_precision(
    float32: BareLoop, int8: BareLoop, requests: Sequence[EngineRequest], *, seconds: float
) -> PrecisionRow:
    """Compare two bare loops of the same bundle on the same requests."""
    different = (float32.run(requests)[0] != int8.run(requests)[0]).any(axis=1)  # this is the warm-up, too
    comparison = compare(lambda: float32.rate(requests), lambda: int8.rate(requests), seconds=seconds)
    return PrecisionRow(width=len(requests), comparison=comparison, different=float(different.mean()))


def _decode(engine: Engine, requests: Sequence[EngineRequest]) -> NDArray[np.int32]:
    handles = [engine.submit(request) for request in requests]
    return np.stack([handle.future.result().tokens for handle in handles])
