from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from runtime.philox import derive_seed
from server.engine.errors import EngineRequestError
from server.engine.request import EngineRequest
from server.engine.snapshot import Snapshot


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"forced": (1, 2, 3)}, "3 forced tokens exceed max_tokens 2"),
        ({"forced": (1, 5), "end_token": 5}, "end token"),
        ({"stop_token": 3}, "stop_count must be at least 1"),
        ({"stop_count": 3}, "stop_count must be at least 1"),
        ({"stop_token": 3, "stop_count": -1}, "stop_count must be at least 1"),
    ],
)
def test_a_request_out_of_range_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineRequestError, match=message):
        EngineRequest(**{"seed": 0, "max_tokens": 2, **values})


def snapshot(tokens: list[int], **values: Any) -> Snapshot:
    defaults = {"state_tokens": 0, "nats": 0.0, "given_nats": 0.0, "started": False, "seed": 3}
    return Snapshot(np.array(tokens, np.int32), {}, **{**defaults, **values})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"candidates": 0}, "candidates must be 1 to 64, not 0"),
        ({"candidates": 65}, "candidates must be 1 to 64, not 65"),
        ({"resume": snapshot([1]), "candidates": 2}, "candidates must be 1 to resume"),
        ({"resume": snapshot([1] * 9)}, "max_tokens must be above the 9 tokens to resume, not 9"),
        ({"resume": snapshot([1], state_tokens=2)}, "state_tokens must be 0 to 1, not 2"),
        ({"resume": snapshot([1], state_tokens=-1)}, "state_tokens must be 0 to 1, not -1"),
        ({"resume": snapshot([1], seed=2**64)}, "out of range"),
        ({"resume": snapshot([1], stream=64)}, "out of range"),
        ({"resume": snapshot([1, 2]), "forced": (1, 3)}, "do not begin with the forced tokens"),
        ({"resume": snapshot([1, 5]), "end_token": 5}, "contain the end token"),
        ({"resume": snapshot([4, 4]), "stop_token": 4, "stop_count": 2}, "contain all stop tokens"),
    ],
)
def test_candidates_and_snapshots_that_cannot_run_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineRequestError, match=message):
        EngineRequest(**{"seed": 0, "max_tokens": 9, **values})


def test_a_token_to_resume_must_be_in_the_vocabulary() -> None:
    with pytest.raises(EngineRequestError, match="token 8 is not one of 0 to 7"):
        EngineRequest(seed=0, max_tokens=9, resume=snapshot([1, 8, 2])).check_tokens(8)


def test_each_candidate_has_a_random_stream_of_its_own() -> None:
    request = EngineRequest(seed=7, max_tokens=9, candidates=4)
    assert [request.random_stream(index) for index in range(4)] == [(derive_seed(7, index), 0) for index in range(4)]
    particles = replace(request, particles=True)
    assert [particles.random_stream(index) for index in range(4)] == [(7, 0), (7, 1), (7, 2), (7, 3)]
    resumed = EngineRequest(seed=7, max_tokens=9, resume=snapshot([1], seed=5, stream=3))
    assert resumed.random_stream(0) == (5, 3)


def test_limits_are_allowed() -> None:
    EngineRequest(seed=2**64 - 1, max_tokens=1, forced=(0,), end_token=1)
