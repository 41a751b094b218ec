"""Bounds in error messages are valid values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rpc.validation import RequestValidator, format_lower_bound, format_upper_bound


@given(st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False, min_value=1e-9, max_value=1e9))
def test_a_formatted_bound_is_valid_and_close(bound: float) -> None:
    assert bound * (1 - 1e-5) <= float(format_upper_bound(bound)) <= bound
    assert bound <= float(format_lower_bound(bound)) <= bound * (1 + 1e-5)


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
def test_formatted_bounds_are_short(bound: float, low: str, high: str) -> None:
    assert (format_lower_bound(bound), format_upper_bound(bound)) == (low, high)


def test_zero_means_unset_where_a_field_says_so() -> None:
    validator = RequestValidator()
    assert validator.in_range_if_set("pieces", 0, 1, 64)
    assert validator.in_range_if_set("pieces", 64, 1, 64)
    assert not validator.violations
    assert not validator.in_range_if_set("pieces", 65, 1, 64)
    assert not validator.in_range_if_set("pieces", -1, 1, 64)
    assert [item.description for item in validator.violations] == ["must be 1 to 64, not 65", "must be 1 to 64, not -1"]
