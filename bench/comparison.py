"""Numbers that were measured, and what follows from them."""

from itertools import pairwise
from statistics import median, quantiles
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, model_validator

PERMILLE: Final = (500, 990, 999)


class Table(BaseModel):
    """Part of a record."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Comparison(Table):
    """Rates in tokens a second, round by round, of a reference and of what ran in turn with it."""

    bare_rates: tuple[float, ...]
    """Of the reference, mostly a bare loop."""
    rates: tuple[float, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.bare_rates) != len(self.rates) or len(self.rates) < 2:
            raise ValueError("a comparison takes two rounds or more, and both in each")
        if min(*self.bare_rates, *self.rates) <= 0.0:
            raise ValueError("rates are above 0")
        return self

    @property
    def ratios(self) -> tuple[float, ...]:
        """Rate by bare rate, round by round."""
        return tuple(rate / bare for rate, bare in zip(self.rates, self.bare_rates, strict=True))

    @property
    def ratio(self) -> float:
        """Median of the ratios: the result."""
        return median(self.ratios)

    @property
    def rate(self) -> float:
        """Median rate, for orientation: it moves with the machine where the ratio need not."""
        return median(self.rates)

    @property
    def bare_rate(self) -> float:
        """Median bare rate."""
        return median(self.bare_rates)

    @property
    def middle_half(self) -> tuple[float, float]:
        """First and third quartile of the ratios: the spread."""
        first, _, third = quantiles(self.ratios, n=4, method="inclusive")
        return first, third

    @property
    def noise(self) -> float:
        """Median change of the bare rate from one round to the next: what nothing but the machine did."""
        return median(abs(later / earlier - 1.0) for earlier, later in pairwise(self.bare_rates))


class Percentiles(Table):
    """Of a number of durations. With fewer than 100 of them, p99 is the longest."""

    p50_seconds: float
    p99_seconds: float

    @classmethod
    def of(cls, seconds: list[float]) -> Self:
        """Nearest ranks: every percentile is a duration that was measured; there must be one at least."""
        p50, p99, _ = nearest_ranks(seconds)
        return cls(p50_seconds=p50, p99_seconds=p99)


class Tail(Table):
    """Of a number of durations, out to the thousandth. With fewer than 1,000 of them, p99.9 is the longest."""

    p50_seconds: float
    p99_seconds: float
    p999_seconds: float
    count: int

    @classmethod
    def of(cls, seconds: list[float]) -> Self:
        """Nearest ranks; there must be one duration at least."""
        p50, p99, p999 = nearest_ranks(seconds)
        return cls(p50_seconds=p50, p99_seconds=p99, p999_seconds=p999, count=len(seconds))


def nearest_ranks(seconds: list[float]) -> tuple[float, float, float]:
    """The median, the 99th percentile and the 99.9th, each a duration that was measured."""
    ranked = sorted(seconds)
    p50, p99, p999 = (ranked[-(-len(ranked) * permille // 1000) - 1] for permille in PERMILLE)
    return p50, p99, p999
