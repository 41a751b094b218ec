"""When the first of many sequences finishes whose lengths are not known before."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from server.engine.estimate import FinishEstimate
from server.engine.request import EngineRequest

MAX_TOKENS = 16_384
STEP_SECONDS = 0.001


def open_ended(taken: Sequence[int]) -> list[tuple[EngineRequest, int]]:
    request = EngineRequest(seed=1, max_tokens=MAX_TOKENS, end_token=1)
    return [(request, each) for each in taken]


def exact(length: int, taken: int = 0) -> tuple[EngineRequest, int]:
    return EngineRequest(seed=1, max_tokens=length), taken


def lengths(draw: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Lengths in tokens as the shipped chorales' own endings have them: 2 bars and more, 13 at the median."""
    return np.maximum(128, draw.lognormal(np.log(832), 0.6, count)).astype(np.int64)


def experienced(draw: np.random.Generator) -> FinishEstimate:
    estimate = FinishEstimate(width=4096, slots=4096)
    estimate.ran(4096, 1, STEP_SECONDS)
    for length in lengths(draw, 100):
        estimate.finished(*open_ended([length])[0])
    return estimate


@pytest.mark.parametrize("count", [1, 4, 32, 256])
def test_the_first_of_those_that_begin_together(count: int) -> None:
    ratios = []
    for seed in range(100):
        draw = np.random.default_rng(seed)
        told = experienced(draw).seconds_to_first(open_ended([0] * count), count)
        ratios.append(told / (lengths(draw, count).min() * STEP_SECONDS))
    assert 1 / 2 < np.median(ratios) < 2


@pytest.mark.parametrize("count", [4, 32])
def test_the_first_of_those_that_began_one_after_the_other(count: int) -> None:
    told, truth = [], []
    for seed in range(200):
        draw = np.random.default_rng(seed)
        estimate = experienced(draw)
        drawn = lengths(draw, 8 * count)
        drawn = draw.choice(drawn, count, p=drawn / drawn.sum())  # at any moment a long piece is the likelier to run
        taken = (drawn * draw.random(count)).astype(np.int64)
        told.append(estimate.seconds_to_first(open_ended(taken.tolist()), count))
        truth.append((drawn - taken).min() * STEP_SECONDS)
    assert np.median(truth) / 2 < np.median(told) < np.median(truth) * 2


def test_one_that_is_longer_than_all_before_finishes_soon() -> None:
    estimate = experienced(np.random.default_rng(1))
    assert estimate.seconds_to_first(open_ended([MAX_TOKENS - 1]), 1) == pytest.approx(STEP_SECONDS)


def test_exact_lengths_count_as_they_are() -> None:
    estimate = experienced(np.random.default_rng(1))
    both = [exact(100, taken=20), exact(50), *open_ended([0] * 3)]
    assert estimate.seconds_to_first(both, len(both)) == pytest.approx(50 * STEP_SECONDS)
    assert estimate.seconds_to_first([exact(10**9)], 1) == pytest.approx(10**9 * STEP_SECONDS)
    assert estimate.seconds_to_first([], 0) == 0.0


def test_before_any_has_finished_a_crowd_is_not_told_to_wait_for_the_mean() -> None:
    estimate = FinishEstimate(width=4096, slots=4096)
    estimate.ran(4096, 1, STEP_SECONDS)
    mean = estimate.tokens(open_ended([0])[0][0]) * STEP_SECONDS
    assert estimate.seconds_to_first(open_ended([0] * 256), 256) < mean / 10
