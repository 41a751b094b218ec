import math
from typing import Any

import pytest

from server.engine.errors import EngineRequestError
from server.engine.request import EngineRequest, SamplingParams


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": 0.0},
        {"temperature": -1.0},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.01},
        {"top_p": math.nan},
    ],
)
def test_sampling_out_of_range_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(EngineRequestError, match=next(iter(values))):
        SamplingParams(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"forced": (1, 2, 3)}, "3 forced tokens exceed max_tokens 2"),
        ({"forced": (1, 5), "end_token": 5}, "end token"),
        ({"stop_token": 3}, "stop_count of at least 1"),
        ({"stop_count": 3}, "stop_count of at least 1"),
        ({"stop_token": 3, "stop_count": -1}, "stop_count of at least 1"),
    ],
)
def test_a_request_out_of_range_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineRequestError, match=message):
        EngineRequest(**{"seed": 0, "max_tokens": 2, **values})


def test_the_edges_are_allowed() -> None:
    EngineRequest(seed=2**64 - 1, max_tokens=1, forced=(0,), end_token=1)
    SamplingParams(temperature=0.01, top_k=1, top_p=1.0)
