from collections.abc import Callable

import pytest

from bench.rounds import LEAST_ROUNDS, MOST_ROUNDS, interleaved


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
    interleaved(watch.taking("b", 1.0), watch.taking("o", 1.0), seconds=8.5, clock=watch)

    assert watch.order == "boobboob"


def test_rates_stay_with_whom_they_belong_to() -> None:
    watch = Stopwatch()
    found = interleaved(watch.taking("b", 1.0, 10.0), watch.taking("o", 1.0, 8.0), seconds=8.5, clock=watch)

    assert found.bare_rates == (10.0,) * 4
    assert found.rates == (8.0,) * 4
    assert found.ratio == pytest.approx(0.8)


@pytest.mark.parametrize(("seconds", "rounds"), [(0.1, LEAST_ROUNDS), (9.0, 4), (1e6, MOST_ROUNDS)])
def test_rounds_are_as_many_as_time_allows(seconds: float, rounds: int) -> None:
    watch = Stopwatch()
    found = interleaved(watch.taking("b", 1.0), watch.taking("o", 1.0), seconds=seconds, clock=watch)

    assert len(found.rates) == rounds
