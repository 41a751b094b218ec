import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.comparison import Comparison, Percentiles, Tail


def test_the_result_is_the_median_of_the_ratios_and_not_the_ratio_of_the_medians() -> None:
    comparison = Comparison(bare_rates=(10.0, 100.0, 20.0), rates=(9.0, 50.0, 20.0))

    assert comparison.ratios == (0.9, 0.5, 1.0)
    assert comparison.ratio == 0.9
    assert comparison.middle_half == pytest.approx((0.7, 0.95))
    assert (comparison.rate, comparison.bare_rate) == (20.0, 20.0)


def test_a_machine_that_slows_both_down_changes_the_noise_and_not_the_ratio() -> None:
    steady = Comparison(bare_rates=(10.0, 10.0, 10.0), rates=(9.0, 9.0, 9.0))
    shaken = Comparison(bare_rates=(10.0, 5.0, 10.0), rates=(9.0, 4.5, 9.0))

    assert steady.ratio == shaken.ratio == pytest.approx(0.9)
    assert steady.noise == 0.0
    assert shaken.noise == pytest.approx((0.5 + 1.0) / 2)


@pytest.mark.parametrize(("bare_rates", "rates"), [((1.0, 2.0), (1.0,)), ((1.0,), (1.0,)), ((1.0, 0.0), (1.0, 1.0))])
def test_what_is_no_comparison_is_refused(bare_rates: tuple[float, ...], rates: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        Comparison(bare_rates=bare_rates, rates=rates)


def test_percentiles_are_nearest_ranks() -> None:
    seconds = [float(rank) for rank in range(1, 201)]
    random.Random(1).shuffle(seconds)  # noqa: S311
    found = Percentiles.of(seconds)

    assert (found.p50_seconds, found.p99_seconds) == (100.0, 198.0)


@given(st.lists(st.floats(0.0, 1e3), min_size=1, max_size=99))
def test_below_a_hundred_p99_is_the_longest(seconds: list[float]) -> None:
    found = Percentiles.of(seconds)

    assert found.p99_seconds == max(seconds)
    assert found.p50_seconds in seconds
    assert sum(value <= found.p50_seconds for value in seconds) >= len(seconds) / 2


def test_the_tail_reaches_to_the_thousandth() -> None:
    seconds = [float(rank) for rank in range(1, 5001)]
    random.Random(2).shuffle(seconds)  # noqa: S311
    found = Tail.of(seconds)

    assert (found.p50_seconds, found.p99_seconds, found.p999_seconds, found.count) == (2500.0, 4950.0, 4995.0, 5000)
