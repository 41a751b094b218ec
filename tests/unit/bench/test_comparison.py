import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.comparison import MAX_ROUNDS, MIN_ROUNDS, Comparison, Percentiles, TailPercentiles, compare


def test_the_result_is_the_median_of_the_ratios_and_not_the_ratio_of_the_medians() -> None:
    comparison = Comparison(reference_rates=(10.0, 100.0, 20.0), rates=(9.0, 50.0, 20.0))

    assert comparison.ratios == (0.9, 0.5, 1.0)
    assert comparison.ratio == 0.9
    assert comparison.quartiles == pytest.approx((0.7, 0.95))
    assert (comparison.rate, comparison.reference_rate) == (20.0, 20.0)


def test_a_machine_that_slows_both_down_changes_the_noise_and_not_the_ratio() -> None:
    steady = Comparison(reference_rates=(10.0, 10.0, 10.0), rates=(9.0, 9.0, 9.0))
    noisy = Comparison(reference_rates=(10.0, 5.0, 10.0), rates=(9.0, 4.5, 9.0))

    assert steady.ratio == noisy.ratio == pytest.approx(0.9)
    assert steady.noise == 0.0
    assert noisy.noise == pytest.approx((0.5 + 1.0) / 2)


@pytest.mark.parametrize(
    ("reference_rates", "rates"), [((1.0, 2.0), (1.0,)), ((1.0,), (1.0,)), ((1.0, 0.0), (1.0, 1.0))]
)
def test_an_invalid_comparison_is_refused(reference_rates: tuple[float, ...], rates: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        Comparison(reference_rates=reference_rates, rates=rates)


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
    found = TailPercentiles.of(seconds)

    assert (found.p50_seconds, found.p99_seconds, found.p999_seconds, found.count) == (2500.0, 4950.0, 4995.0, 5000)


class Stopwatch:
    def __init__(self) -> None:
        self.now = 0.0
        self.order = ""

    def taking(self, name: str, seconds: float, rate: float = 1.0) -> Callable[[], float]:
        def measure() -> float:
            self.now += seconds
            self.order += name
            return rate

        return measure

    def __call__(self) -> float:
        return self.now


def test_each_goes_first_in_every_second_round() -> None:
    watch = Stopwatch()
    compare(watch.taking("r", 1.0), watch.taking("o", 1.0), seconds=8.5, clock=watch)

    assert watch.order == "roorroor"


def test_rates_belong_to_what_was_measured() -> None:
    watch = Stopwatch()
    found = compare(watch.taking("r", 1.0, 10.0), watch.taking("o", 1.0, 8.0), seconds=8.5, clock=watch)

    assert found.reference_rates == (10.0,) * 4
    assert found.rates == (8.0,) * 4
    assert found.ratio == pytest.approx(0.8)


@pytest.mark.parametrize(("seconds", "rounds"), [(0.1, MIN_ROUNDS), (9.0, 4), (1e6, MAX_ROUNDS)])
def test_rounds_are_as_many_as_time_allows(seconds: float, rounds: int) -> None:
    watch = Stopwatch()
    found = compare(watch.taking("r", 1.0), watch.taking("o", 1.0), seconds=seconds, clock=watch)

    assert len(found.rates) == rounds
