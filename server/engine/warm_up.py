"""Runs a runner without requests: everything once before the engine accepts any, one step after a failed run."""

import time

import numpy as np

from runtime.runner import Runner
from server.engine.batch import Batch
from server.engine.prefill_queue import SLICE_TOKENS
from server.engine.request import EngineRequest


def probe(runner: Runner) -> None:
    """Run one step of one row, to see whether the runner still works. The state of slot 0 is lost.

    Raises:
        Exception: any error of the runner.
    """
    request, batch = EngineRequest(seed=0, max_tokens=1), Batch(runner)
    batch.add(0, request)
    runner.reset(0, request.position_index)
    batch.select_rows()
    runner.decode(batch.chunk(runner.chunk_sizes[0]))


def warm_up(runner: Runner) -> dict[int, float]:
    """Run every chunk size with one row and with a full batch, one prefill slice and one first step.

    Returns:
        The seconds of a run with the longest chunk, by batch size: of one row, and of a full batch.

    Raises:
        Exception: any error of the runner, or an AssertionError if a result is impossible.
    """
    request = EngineRequest(seed=0, max_tokens=1)
    first_token_runner = runner.first_token_runner
    seconds: dict[int, float] = {}
    for batch_size in sorted({1, runner.max_batch_size}):
        batch = Batch(runner)
        for slot in range(batch_size):
            batch.add(slot, request)
            runner.reset(slot, request.position_index)
        batch.select_rows()
        for steps in runner.chunk_sizes:
            decoded = runner.decode(batch.chunk(steps))
            tokens = decoded.tokens
            assert tokens.shape == (batch_size, steps), (
                f"the tokens have shape {tokens.shape}, not {(batch_size, steps)}"
            )
            shape = decoded.log_probabilities.shape
            assert shape == tokens.shape, f"the log-probabilities have shape {shape}, not {tokens.shape}"
            assert 0 <= tokens.min() <= tokens.max() < runner.vocabulary, "a token is outside the vocabulary"
            if first_token_runner is not None and (batch_size, steps) == (1, runner.chunk_sizes[0]):
                first = first_token_runner.decode(
                    np.array([request.position_index]), np.array([request.remaining]), batch.chunk(steps)
                )
                assert first.tokens.tolist() == tokens.tolist(), "the first-token runner gives other tokens"
                runner.resume(0, first.states[0])
        began = time.perf_counter()
        runner.decode(batch.chunk(steps))  # once more: the first run of a size takes longer
        seconds[batch_size] = time.perf_counter() - began
    runner.reset(0, request.position_index)
    consumed = sum(runner.prefill(0, np.zeros(SLICE_TOKENS, np.int64), SLICE_TOKENS))
    assert consumed == SLICE_TOKENS, f"a prefill of {SLICE_TOKENS} tokens consumed {consumed}"
    return seconds
