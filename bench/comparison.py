"""Compares two rates that are measured in turn, round after round."""

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import median, quantiles
from typing import Final, Self

from pydantic import model_validator

from report import Record

MIN_ROUNDS: Final = 3
MAX_ROUNDS: Final = 25


class Comparison(Record):
    """Rates in tokens a second, round by round, of a reference and of what ran in turn with it."""

    reference_rates: tuple[float, ...]
    """Of the reference, usually a bare loop."""
    rates: tuple[float, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.reference_rates) != len(self.rates) or len(self.rates) < 2:
            raise ValueError("a comparison needs at least two rounds with both rates")
        if min(*self.reference_rates, *self.rates) <= 0.0:
            raise ValueError("rates must be above 0")
        return self

    @property
    def ratios(self) -> tuple[float, ...]:
        """Rate divided by the reference's rate, round by round."""
        return tuple(rate / reference for rate, reference in zip(self.rates, self.reference_rates, strict=True))

    @property
    def ratio(self) -> float:
        """Median of the ratios: the result."""
        return median(self.ratios)

    @property
    def rate(self) -> float:
        """Median rate, for orientation: it moves with the machine, the ratio less so."""
        return median(self.rates)

    @property
    def reference_rate(self) -> float:
        """Median rate of the reference."""
        return median(self.reference_rates)

    @property
    def quartiles(self) -> tuple[float, float]:
        """First and third quartile of the ratios: the spread."""
        first, _, third = quantiles(self.ratios, n=4, method="inclusive")
        return first, third

    @property
    def noise(self) -> float:
        """Median change of the reference's rate from one round to the next: what the machine alone does."""
        return median(abs(later / earlier - 1.0) for earlier, later in pairwise(self.reference_rates))


class Percentiles(Record):
    """Percentiles of durations by nearest rank. With fewer than 100 durations, p99 is the longest."""

    p50_seconds: float
    p99_seconds: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Self:
        """The percentiles of at least one duration."""
        ranked = sorted(seconds)
        return cls(p50_seconds=_nearest_rank(ranked, 500), p99_seconds=_nearest_rank(ranked, 990))


class TailPercentiles(Percentiles):
    """The same with p99.9. With fewer than 1,000 durations, p99.9 is the longest."""

    p999_seconds: float
    count: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Self:
        """The percentiles of at least one duration."""
        ranked = sorted(seconds)
        p50, p99, p999 = (_nearest_rank(ranked, permille) for permille in (500, 990, 999))
        return cls(p50_seconds=p50, p99_seconds=p99, p999_seconds=p999, count=len(ranked))


def compare(
    reference: Callable[[], float],
    other: Callable[[], float],
    *,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Measure both in every round, so that a change of the machine affects both.

    Args:
        reference: measures the reference once, in tokens a second.
        other: measures what is compared with it.
        seconds: approximate duration; there are at least `MIN_ROUNDS` and at most `MAX_ROUNDS` rounds.
        clock: time in seconds.
    """
    reference_rates: list[float] = []
    rates: list[float] = []
    began = clock()
    for done in range(MAX_ROUNDS):
        spent = clock() - began
        if done >= MIN_ROUNDS and spent + spent / done > seconds:
            break
        # The second one finds the caches and the clock frequency that the first has left: they alternate.
        for measure, into in ((reference, reference_rates), (other, rates))[:: 1 if done % 2 == 0 else -1]:
            into.append(measure())
    return Comparison(reference_rates=tuple(reference_rates), rates=tuple(rates))


def _nearest_rank(ranked: Sequence[float], permille: int) -> float:
    return ranked[-(-len(ranked) * permille // 1000) - 1]
