import math
from typing import Any

import numpy as np
import pytest

from runtime.errors import SamplingError
from runtime.sampling import SamplingParams, candidate_limit


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
def test_sampling_parameters_out_of_range_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(SamplingError, match=next(iter(values))):
        SamplingParams(**values)


def test_the_least_values_are_allowed() -> None:
    SamplingParams(temperature=0.01, top_k=1, top_p=1.0)


@pytest.mark.parametrize(("top_k", "limit"), [([1, 3], 3), ([1, 0], 40), ([99, 2], 40), ([0], 40)])
def test_the_sampler_sorts_as_many_tokens_as_the_widest_row_needs(top_k: list[int], limit: int) -> None:
    assert candidate_limit(np.array(top_k), 40).tolist() == [limit]
