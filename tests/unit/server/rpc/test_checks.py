"""Bounds are told such that they are allowed themselves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rpc.checks import highest, lowest


@given(st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False, min_value=1e-9, max_value=1e9))
def test_a_bound_that_is_told_is_inside_and_close(bound: float) -> None:
    assert bound * (1 - 1e-5) <= float(highest(bound)) <= bound
    assert bound <= float(lowest(bound)) <= bound * (1 + 1e-5)


@pytest.mark.parametrize(
    ("bound", "low", "high"),
    [
        (1066.6666669, "1066.67", "1066.66"),
        (float(np.float32(0.01)), "0.01", "0.00999999"),
        (80.0, "80", "80"),
        (4096, "4096", "4096"),
        (1234567, "1234567", "1234567"),
    ],
)
def test_bounds_are_short(bound: float, low: str, high: str) -> None:
    assert (lowest(bound), highest(bound)) == (low, high)
