from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.bare_loop import BareLoop
from bench.comparison import MIN_ROUNDS
from bench.engine import RunnerClock, measure_engine, measure_precision
from bench.systems import make_requests
from music.bundle import Bundle, load_bundle
from runtime.host_runner import HostRunner
from runtime.precision import Precision
from server.engine.engine import Engine
from server.engine.request import EngineRequest

STEPS = 9  # 18 tokens of two voices: no multiple of a chunk


class OffByOne(BareLoop):
    def run(self, requests: Sequence[EngineRequest]) -> tuple[NDArray[np.int64], float]:
        tokens, seconds = super().run(requests)
        return tokens + 1, seconds


@pytest.fixture(scope="module")
def small(small_bundle: Path) -> Bundle:
    return load_bundle(small_bundle)


@pytest.fixture
def clock() -> RunnerClock:
    return RunnerClock()


@pytest.fixture
def engine(small: Bundle, clock: RunnerClock) -> Iterator[Engine]:
    runner = HostRunner(small, slots=4, provider="cpu", threads=1, precision="float32")
    engine = Engine(runner, queue_limit=0, observer=clock, name="small")
    engine.start()
    yield engine
    engine.stop()


@pytest.mark.parametrize("width", [1, 3])
def test_engine_and_bare_loop_do_the_same_work(small: Bundle, engine: Engine, clock: RunnerClock, width: int) -> None:
    requests = make_requests(small, STEPS, range(width))
    bare, control_loop = (BareLoop(small, provider="cpu", threads=1) for _ in range(2))
    row = measure_engine(bare, control_loop, engine, clock, requests, seconds=0.01)

    assert row.same_tokens
    assert row.width == width
    assert len(row.comparison.rates) == len(row.control.rates) == MIN_ROUNDS
    assert 0.0 < row.runner_share < 1.0


def test_other_tokens_are_noticed(small: Bundle, engine: Engine, clock: RunnerClock) -> None:
    bare = OffByOne(small, provider="cpu", threads=1)
    row = measure_engine(bare, bare, engine, clock, make_requests(small, STEPS, [7]), seconds=0.01)

    assert not row.same_tokens


def test_precisions_are_compared_on_the_same_requests(small: Bundle) -> None:
    float32, int8 = (BareLoop(small, provider="cpu", threads=1, precision=kind) for kind in get_args(Precision))
    requests = make_requests(small, STEPS, range(3))
    row = measure_precision(float32, int8, requests, seconds=0.01)
    differ = (float32.run(requests)[0] != int8.run(requests)[0]).any(axis=1)

    assert row.width == 3
    assert row.different == pytest.approx(differ.mean())
    assert measure_precision(float32, float32, requests, seconds=0.01).different == 0.0
