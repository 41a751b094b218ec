from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.bare import BareLoop
from bench.engine import RunClock, measure_engine
from bench.errors import BenchError
from bench.rounds import LEAST_ROUNDS
from bench.workload import plan_requests
from music.bundle import Bundle, load_bundle
from server.engine.engine import Engine
from server.engine.onnx_runner import OnnxRunner
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
def run_clock() -> RunClock:
    return RunClock()


@pytest.fixture
def engine(small: Bundle, run_clock: RunClock) -> Iterator[Engine]:
    runner = OnnxRunner(small, slots=4, provider="cpu", threads=1, precision="float32")
    engine = Engine(runner, queue_limit=0, observer=run_clock, name="small")
    engine.start()
    yield engine
    engine.stop()


@pytest.mark.parametrize("width", [1, 3])
def test_engine_and_bare_loop_do_the_same_work(small: Bundle, engine: Engine, run_clock: RunClock, width: int) -> None:
    requests = plan_requests(small, STEPS, range(width))
    bare, twin = (BareLoop(small, provider="cpu", threads=1) for _ in range(2))
    row = measure_engine(bare, twin, engine, run_clock, requests, seconds=0.01)

    assert row.same_tokens
    assert row.width == width
    assert len(row.comparison.rates) == len(row.control.rates) == LEAST_ROUNDS
    assert 0.0 < row.run_share < 1.0


def test_other_tokens_are_noticed(small: Bundle, engine: Engine, run_clock: RunClock) -> None:
    bare = OffByOne(small, provider="cpu", threads=1)
    row = measure_engine(bare, bare, engine, run_clock, plan_requests(small, STEPS, [7]), seconds=0.01)

    assert not row.same_tokens


def test_requests_are_those_of_the_service(small: Bundle) -> None:
    first, second = plan_requests(small, STEPS, [3, 4])

    assert (first.seed, second.seed) == (3, 4)
    assert first.max_tokens == 2 * STEPS
    assert not first.may_end
    assert first.sampling.temperature == small.defaults.temperature


def test_a_piece_that_the_model_does_not_write_is_refused(small: Bundle) -> None:
    with pytest.raises(BenchError, match=r"small does not write such pieces: steps must be 1 to \d+"):
        plan_requests(small, small.max_steps + 1, [0])
