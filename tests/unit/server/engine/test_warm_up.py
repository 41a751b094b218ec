import re

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.runner import Chunk, Decoded, FirstTokens
from server.engine.errors import EngineFailedError
from server.engine.prefill_queue import SLICE_TOKENS
from server.engine.request import EngineRequest
from tests.unit.server.engine.conftest import MakeEngine
from tests.unit.server.engine.fake_runner import FakeFirstTokenRunner, FakeRunner


def test_warm_up_runs_every_chunk_size_with_one_row_and_with_full_width(make_engine: MakeEngine) -> None:
    runner = FakeRunner(slots=3, chunk_sizes=(1, 4))
    engine = make_engine(runner)
    engine.warm_up()
    assert runner.shapes == [(1, 1), (1, 4), (1, 4), (3, 1), (3, 4), (3, 4)]
    engine.start()
    warm = engine.submit(EngineRequest(seed=1, max_tokens=20)).future.result(10).tokens.tolist()
    cold = make_engine(FakeRunner(slots=3, chunk_sizes=(1, 4)))
    cold.start()
    assert cold.submit(EngineRequest(seed=1, max_tokens=20)).future.result(10).tokens.tolist() == warm


def test_warm_up_runs_a_slice(make_engine: MakeEngine) -> None:
    runner = FakeRunner()
    make_engine(runner).warm_up()
    assert runner.slices == [(0, SLICE_TOKENS)]
    broken = FakeRunner()
    broken.prefill = lambda slot, tokens, slice_tokens: iter([1])  # type: ignore[method-assign]
    with pytest.raises(EngineFailedError) as caught:
        make_engine(broken).warm_up()
    assert "a prefill of 32 tokens consumed 1" in str(caught.value.__cause__)


def test_warm_up_finds_a_model_that_does_not_run(make_engine: MakeEngine) -> None:
    runner = FakeRunner()
    trouble = RuntimeError("out of memory")

    def fail(chunk: Chunk) -> None:
        raise trouble

    runner.before_decode = fail
    with pytest.raises(EngineFailedError, match="fake") as caught:
        make_engine(runner).warm_up()
    assert caught.value.__cause__ is trouble


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (np.full((1, 1), 16), "outside the vocabulary"),
        (np.full((1, 1), -1), "outside the vocabulary"),
        (np.zeros((2, 2)), r"shape \(2, 2\)"),
    ],
)
def test_warm_up_finds_impossible_tokens(make_engine: MakeEngine, tokens: NDArray[np.int64], message: str) -> None:
    class Nonsense(FakeRunner):
        def decode(self, chunk: Chunk) -> Decoded:
            return Decoded(tokens, np.zeros(tokens.shape, np.float32))

    with pytest.raises(EngineFailedError) as caught:
        make_engine(Nonsense(vocabulary=16)).warm_up()
    assert re.search(message, str(caught.value.__cause__))


def test_warm_up_finds_log_probabilities_of_another_shape(make_engine: MakeEngine) -> None:
    class Nonsense(FakeRunner):
        def decode(self, chunk: Chunk) -> Decoded:
            return Decoded(super().decode(chunk).tokens, np.zeros(3, np.float32))

    with pytest.raises(EngineFailedError) as caught:
        make_engine(Nonsense()).warm_up()
    assert "the log-probabilities have shape (3,)" in str(caught.value.__cause__)


def test_warm_up_finds_a_first_token_runner_that_gives_other_tokens(make_engine: MakeEngine) -> None:
    class Wrong(FakeFirstTokenRunner):
        def decode(
            self, position_indices: NDArray[np.int64], remaining: NDArray[np.int64], chunk: Chunk
        ) -> FirstTokens:
            first = super().decode(position_indices, remaining, chunk)
            return FirstTokens(first.tokens + 1, first.log_probabilities, first.states)

    runner = FakeRunner(first_steps=True)
    make_engine(runner).warm_up()
    assert runner.first_token_runner is not None
    assert len(runner.first_token_runner.chunks) == 1
    runner.first_token_runner = Wrong(runner)
    with pytest.raises(EngineFailedError):
        make_engine(runner).warm_up()
