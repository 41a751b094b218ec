"""What one run of the benchmark found: every number that was measured, and what follows from them."""

from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from bench.errors import BenchError
from bench.machine import Machine


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Comparison(_Table):
    """Rates in tokens a second, round by round, of a bare loop and of what ran in turn with it."""

    bare_rates: tuple[float, ...]
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


class EngineRow(_Table):
    """The engine at one width."""

    width: int
    comparison: Comparison
    control: Comparison
    """A second bare loop in the engine's place: two equal things, compared in the same way."""
    run_share: float
    """Part of the engine's time that the runner took, 0 to 1; the rest is the engine's own."""
    same_tokens: bool
    """Whether engine and bare loop wrote the same."""


class Percentiles(_Table):
    """Of a number of durations. With fewer than 100 of them, p99 is the longest."""

    p50_seconds: float
    p99_seconds: float

    @classmethod
    def of(cls, seconds: list[float]) -> Self:
        """Nearest ranks: every percentile is a duration that was measured; there must be one at least."""
        ranked = sorted(seconds)
        p50, p99 = (ranked[-(-len(ranked) * percent // 100) - 1] for percent in (50, 99))
        return cls(p50_seconds=p50, p99_seconds=p99)


class ServiceRow(_Table):
    """The service under a number of clients, each of which asks for the next piece when it has one."""

    clients: int
    comparison: Comparison
    calls: int
    """Calls that the durations are of."""
    latency: Percentiles
    """From asking to the whole piece, as the client sees it."""
    first_token: Percentiles
    """From admission to the first token, as the response's timing says."""
    outside_engine: Percentiles
    """Latency less the engine's total: the wire, validation, decoding, MIDI."""


class Report(_Table):
    """One run of the benchmark."""

    format_version: Literal[1] = 1
    date: str
    """When it began, UTC, ISO 8601."""
    machine: Machine
    bundle: str
    """Name of the model."""
    digest: str
    """sha256 of the bundle's manifest, in hex."""
    provider: str
    """The execution provider that ran it."""
    threads: int
    """Threads of one run."""
    chunk_steps: int
    """Steps of one run of the bare loop."""
    piece_tokens: int
    """Tokens of one piece."""
    load_before: tuple[float, float, float]
    """Load averages over 1, 5 and 15 minutes when it began: whoever else was there."""
    load_after: tuple[float, float, float]
    """The same when it ended, the benchmark itself included."""
    engine: tuple[EngineRow, ...]
    service: tuple[ServiceRow, ...]

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.model_dump_json(indent=2) + "\n")


def load_report(path: Path) -> Report:
    """Read what `Report.save` wrote.

    Raises:
        BenchError: it is not that.
    """
    try:
        return Report.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BenchError(f"{path} is not a recorded result: {error}") from error
