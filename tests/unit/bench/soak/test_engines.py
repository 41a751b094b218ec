from dataclasses import replace
from pathlib import Path

import pytest

from bench.soak.answers import Answer
from bench.soak.engines import EngineSettings, run_engine
from bench.soak.pool import RequestPool
from bench.soak.requests import ResumedRequest

SETTINGS = EngineSettings(slots=5, width=3, threads=1, chunk_sizes=(1, 16), precision="float32", provider="cpu", seed=4)


@pytest.mark.slow
def test_answers_under_load_are_the_answers_alone(small_bundle: Path, pool: RequestPool) -> None:
    run, mismatches = run_engine(small_bundle, pool, SETTINGS, requests=300, number=0)

    assert (run.requests, run.mismatches, mismatches) == (300, 0, [])
    assert run.cancelled > 0
    assert run.max_width == 3
    assert 50 < run.streamed < 300
    assert run.evaluated > 50


@pytest.mark.slow
def test_one_wrong_token_is_found_and_named(small_bundle: Path, pool: RequestPool) -> None:
    wrong_index = next(
        index
        for index, answer in enumerate(pool.answers)
        if len(answer.candidates) == 1
        and len(answer.candidates[0].tokens) > 5
        and not isinstance(pool.requests[index], ResumedRequest)
    )
    candidate = pool.answers[wrong_index].candidates[0]
    tokens = candidate.tokens.copy()
    tokens[3] = (tokens[3] + 1) % 4
    wrong = Answer((replace(candidate, tokens=tokens),))
    answers = tuple(wrong if index == wrong_index else answer for index, answer in enumerate(pool.answers))
    run, mismatches = run_engine(small_bundle, replace(pool, answers=answers), SETTINGS, requests=900, number=2)

    assert run.mismatches == len(mismatches) or len(mismatches) == 5
    assert {mismatch.position for mismatch in mismatches} == {3}
    assert {mismatch.request for mismatch in mismatches} == {str(pool.requests[wrong_index])}
    assert {mismatch.engine for mismatch in mismatches} == {2}
