"""What one scale test found, as kept in `bench/results/scale/NAME.json`."""

from collections.abc import Iterator
from typing import Final, Literal

from bench.comparison import Comparison
from bench.machine import Machine
from bench.record import RESULTS
from report import Record

SCALE_RESULTS: Final = RESULTS / "scale"
"""Folder of the records."""
MAX_SKEW: Final = 0.1
"""Goal: largest deviation of a replica's calls from the mean."""

Balancer = Literal["client", "envoy"]


class Throughput(Record):
    """Closed-loop capacity of several replicas against that of one."""

    replicas: int
    comparison: Comparison
    """One replica is the reference; in tokens a second."""


class Join(Record):
    """How calls are spread one connection age after a replica joined."""

    calls: tuple[int, ...]
    """That each replica received in the time; the one that joined comes last."""
    seconds: float

    @property
    def skew(self) -> float:
        """Largest deviation from the mean, as a part of the mean."""
        mean = sum(self.calls) / len(self.calls)
        return max(abs(calls - mean) for calls in self.calls) / mean


class Disturbance(Record):
    """Calls while replicas are replaced or killed."""

    kind: Literal["rollout", "crash"]
    replicas: int
    calls: int
    retried: int
    """Calls that needed more than one attempt of the caller."""
    resumed: int
    """Streams that went on with a resume token."""
    failed: int
    different: int
    """Pieces that differ from those of an undisturbed server."""
    max_seconds: float
    """The longest call, all attempts and waits included."""
    errors: tuple[str, ...] = ()


class BalancerResult(Record):
    """One way to spread calls."""

    balancer: Balancer
    throughput: tuple[Throughput, ...]
    join: Join
    disturbances: tuple[Disturbance, ...]


class ScaleRecord(Record):
    """One run of the scale test."""

    format_version: Literal[1] = 1
    date: str
    """When it began, UTC, ISO 8601."""
    machine: Machine
    bundle: str
    digest: str
    precision: str
    replicas: int
    """Number that serve before one joins."""
    connection_age_seconds: float
    calls_per_second: float
    """Of the load beside join, rollout and crash."""
    results: tuple[BalancerResult, ...]

    def problems(self) -> Iterator[str]:
        """What is not as it should be, a sentence each."""
        for result in self.results:
            if result.join.skew > MAX_SKEW:
                yield f"{result.balancer}: a replica's calls deviate by {result.join.skew:.1%} from the mean"
            for found in result.disturbances:
                if found.failed or found.different:
                    what = f"{found.failed} failed and {found.different} different of {found.calls} calls"
                    yield f"{result.balancer}, {found.kind}: {what}"
