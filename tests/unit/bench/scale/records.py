"""Made-up records of the scale test."""

from bench.comparison import Comparison
from bench.scale.record import BalancerResult, Disturbance, Join, ScaleRecord, Throughput
from tests.unit.bench.records import machine


def result(calls: tuple[int, ...] = (100, 104, 96), failed: int = 0, different: int = 0) -> BalancerResult:
    return BalancerResult(
        balancer="client",
        throughput=(
            Throughput(replicas=2, comparison=Comparison(reference_rates=(100.0, 110.0), rates=(190.0, 209.0))),
        ),
        join=Join(calls=calls, seconds=30.0),
        disturbances=(
            Disturbance(
                kind="crash",
                replicas=3,
                calls=200,
                retried=7,
                resumed=3,
                failed=failed,
                different=different,
                max_seconds=2.5,
            ),
        ),
    )


def record(*results: BalancerResult) -> ScaleRecord:
    return ScaleRecord(
        date="2030-01-02T03:04:05+00:00",
        machine=machine(),
        bundle="chorales",
        digest="d" * 64,
        precision="int8",
        replicas=2,
        connection_age_seconds=40.0,
        calls_per_second=8.0,
        results=results or (result(),),
    )
