from pathlib import Path

import pytest

from bench.machine import Cores
from bench.options import BenchError, Options
from bench.systems import Systems, make_requests, make_runner
from music.bundle import Bundle, load_bundle

STEPS = 9


@pytest.fixture(scope="module")
def small(small_bundle: Path) -> Bundle:
    return load_bundle(small_bundle)


def test_requests_are_those_of_the_service(small: Bundle) -> None:
    first, second = make_requests(small, STEPS, [3, 4])

    assert (first.seed, second.seed) == (3, 4)
    assert first.max_tokens == 2 * STEPS
    assert not first.may_end
    assert first.sampling.temperature == small.defaults.temperature


def test_a_piece_that_the_model_does_not_write_is_refused(small: Bundle) -> None:
    with pytest.raises(BenchError, match=r"small cannot write pieces of this length: steps must be 1 to \d+"):
        make_requests(small, small.max_steps + 1, [0])


def test_a_runner_can_have_fewer_chunk_sizes(small: Bundle) -> None:
    runner = make_runner(small, slots=3, max_batch_size=2, provider="cpu", threads=1, chunk_sizes=(1, 4))

    assert (runner.chunk_sizes, runner.slots, runner.max_batch_size) == ((1, 4), 3, 2)


def test_systems_have_the_precision_that_was_asked_for(small: Bundle) -> None:
    options = Options(provider="cpu", precision="int8", steps=STEPS)
    systems = Systems.of(small, options, Cores(1))

    assert systems.precision == "int8"
    assert systems.tokens_per_step == 2
    assert [request.seed for request in systems.requests(2)] == [0, 1]
