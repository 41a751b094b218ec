"""The time to the first finish of many sequences of unknown length."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from server.engine.estimate import FinishEstimate, time_until_free
from server.engine.request import EngineRequest

MAX_TOKENS = 16_384
STEP_SECONDS = 0.001


def open_ended(taken: Sequence[int]) -> list[tuple[EngineRequest, int]]:
    request = EngineRequest(seed=1, max_tokens=MAX_TOKENS, end_token=1)
    return [(request, each) for each in taken]


def exact(length: int, taken: int = 0) -> tuple[EngineRequest, int]:
    return EngineRequest(seed=1, max_tokens=length), taken


def lengths(draw: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Draw lengths in tokens like those of the shipped chorales model: 2 bars and more, median 13."""
    return np.maximum(128, draw.lognormal(np.log(832), 0.6, count)).astype(np.int64)


def experienced(draw: np.random.Generator) -> FinishEstimate:
    estimate = FinishEstimate(max_batch_size=4096, slots=4096)
    estimate.record_chunk(4096, 1, STEP_SECONDS, 0.0)
    for length in lengths(draw, 100):
        estimate.record_length(*open_ended([length])[0])
    return estimate


@pytest.mark.parametrize("count", [1, 4, 32, 256])
def test_the_first_finish_of_sequences_that_begin_together(count: int) -> None:
    ratios = []
    for seed in range(100):
        draw = np.random.default_rng(seed)
        estimated = experienced(draw).seconds_to_first_finish(open_ended([0] * count), count)
        ratios.append(estimated / (lengths(draw, count).min() * STEP_SECONDS))
    assert 1 / 2 < np.median(ratios) < 2


@pytest.mark.parametrize("count", [4, 32])
def test_the_first_finish_of_sequences_that_began_one_after_the_other(count: int) -> None:
    estimated, truth = [], []
    for seed in range(200):
        draw = np.random.default_rng(seed)
        estimate = experienced(draw)
        drawn = lengths(draw, 8 * count)
        drawn = draw.choice(drawn, count, p=drawn / drawn.sum())  # at any moment, a long sequence is more likely to run
        taken = (drawn * draw.random(count)).astype(np.int64)
        estimated.append(estimate.seconds_to_first_finish(open_ended(taken.tolist()), count))
        truth.append((drawn - taken).min() * STEP_SECONDS)
    assert np.median(truth) / 2 < np.median(estimated) < np.median(truth) * 2


def test_a_sequence_longer_than_all_before_is_expected_to_finish_soon() -> None:
    estimate = experienced(np.random.default_rng(1))
    assert estimate.seconds_to_first_finish(open_ended([MAX_TOKENS - 1]), 1) == pytest.approx(STEP_SECONDS)


def test_exact_lengths_count_as_they_are() -> None:
    estimate = experienced(np.random.default_rng(1))
    both = [exact(100, taken=20), exact(50), *open_ended([0] * 3)]
    assert estimate.seconds_to_first_finish(both, len(both)) == pytest.approx(50 * STEP_SECONDS)
    assert estimate.seconds_to_first_finish([exact(10**9)], 1) == pytest.approx(10**9 * STEP_SECONDS)
    assert estimate.seconds_to_first_finish([], 0) == 0.0


@pytest.mark.parametrize("least", [False, True])
def test_a_step_has_the_duration_of_batches_of_its_size(least: bool) -> None:
    estimate = FinishEstimate(max_batch_size=64, slots=256)

    def milliseconds(rows: int) -> float:
        return 1000 * estimate.token_seconds(rows, least=least)

    estimate.record_chunk(1, 16, 16 * 0.001, 0.0)
    estimate.record_chunk(64, 16, 16 * 0.022, 0.0)
    assert [milliseconds(rows) for rows in (1, 22, 64)] == pytest.approx([1.0, 8.0, 22.0])
    assert milliseconds(128) == pytest.approx(44.0)  # they take turns

    for _ in range(200):
        estimate.record_chunk(48, 16, 16 * 0.01, 1.0)
        estimate.record_chunk(64, 16, 16 * 0.03, 1.0)
    assert milliseconds(1) == pytest.approx(1.0)  # large batches after it do not count
    assert milliseconds(48) == pytest.approx(10.0)
    assert milliseconds(64) == pytest.approx(30.0, rel=0.01)


def test_without_lengths_the_first_finish_of_many_is_long_before_the_mean() -> None:
    estimate = FinishEstimate(max_batch_size=4096, slots=4096)
    estimate.record_chunk(4096, 1, STEP_SECONDS, 0.0)
    mean = estimate.expected_tokens(open_ended([0])[0][0]) * STEP_SECONDS
    assert estimate.seconds_to_first_finish(open_ended([0] * 256), 256) < mean / 10


@pytest.mark.parametrize(
    ("running", "waiting", "wanted", "expected"),
    [
        ([], [], 4, 0.0),
        ([(9.0, 3)], [], 1, 0.0),
        ([(9.0, 3)], [], 2, 9.0),
        ([(9.0, 2), (5.0, 1), (7.0, 1)], [], 1, 5.0),
        ([(9.0, 2), (5.0, 1), (7.0, 1)], [], 2, 7.0),
        ([(9.0, 2), (5.0, 1), (7.0, 1)], [], 3, 9.0),
        # The oldest one waits for both slots until 7, and so does the one behind it; then they run for 2 and 3.
        ([(9.0, 2), (5.0, 1), (7.0, 1)], [(2.0, 2), (3.0, 1)], 1, 9.0),
        ([(9.0, 2), (5.0, 1), (7.0, 1)], [(2.0, 1)], 1, 7.0),
        ([(9.0, 4)], [(2.0, 4), (3.0, 4)], 4, 14.0),
    ],
)
def test_slots_are_free_when_those_ahead_have_finished(
    running: list[tuple[float, int]], waiting: list[tuple[float, int]], wanted: int, expected: float
) -> None:
    assert time_until_free(4, running, waiting, wanted) == expected


def test_the_batch_becomes_smaller_while_a_sequence_runs() -> None:
    estimate = FinishEstimate(max_batch_size=64, slots=64)
    for rows, milliseconds in ((1, 1), (2, 2), (64, 8)):
        estimate.record_chunk(rows, 16, 16 * milliseconds / 1000, 0.0)
    assert estimate.least_seconds(1000, 1, []) == pytest.approx(1.0)
    assert estimate.least_seconds(1000, 1, [(2000, 1)]) == pytest.approx(2.0)
    assert estimate.least_seconds(1000, 1, [(400, 1), (100, 62)]) == pytest.approx(0.8 + 0.6 + 0.6)


def test_more_rows_than_fit_in_a_run_take_turns() -> None:
    estimate = FinishEstimate(max_batch_size=4, slots=8)
    estimate.record_chunk(1, 1, 0.001, 0.0)
    estimate.record_chunk(4, 1, 0.003, 0.0)
    assert [estimate.token_seconds(rows) for rows in (1, 4, 6, 8, 100)] == pytest.approx(
        [0.001, 0.003, 0.0045, 0.006, 0.006]
    )


def test_refusals_are_doubted_when_nothing_was_measured_for_a_time() -> None:
    estimate = FinishEstimate(max_batch_size=4, slots=4)
    estimate.record_chunk(1, 1, 60.0, now=1000.0)
    assert estimate.confirm_refusal(5000.0), "the measurement is old, but this is the first refusal"
    assert estimate.confirm_refusal(5009.0)
    assert not estimate.confirm_refusal(5011.0)
    assert estimate.confirm_refusal(5012.0), "only one request is allowed"
    assert not estimate.confirm_refusal(5022.0)
    estimate.record_chunk(1, 1, 0.001, now=5023.0)
    assert estimate.confirm_refusal(5040.0)
    assert estimate.confirm_refusal(5049.0)
    assert not estimate.confirm_refusal(5051.0)
