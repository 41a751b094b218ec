"""Reports made up for tests."""

from bench.churn.record import ChurnReport, Difference, Episode, Mismatch
from bench.comparison import Comparison, Percentiles, Tail
from bench.machine import Machine
from bench.report import Report
from bench.rows import (
    EngineRow,
    Fairness,
    Growth,
    GrowthRow,
    Latency,
    LoadRow,
    Memory,
    OperatorRow,
    PeerRow,
    PrecisionRow,
    Prefill,
    SamplingRow,
    ServiceRow,
)


def machine() -> Machine:
    return Machine(
        cpu="Abacus 9",
        byte_products=("beads",),
        cores=2,
        work_cores=(0,),
        client_cores=(1,),
        system="Linux x86_64",
        python="3.11.7",
        onnxruntime="1.32.0",
        numpy="2.4.6",
        grpcio="1.85.1",
        revision="abc123",
    )


def report(
    *,
    date: str = "2030-01-02T03:04:05+00:00",
    bare_rates: tuple[float, ...] = (1000.0, 1000.0, 1000.0),
    same_tokens: bool = True,
    load: float = 0.1,
    calls: int = 200,
) -> Report:
    comparison = Comparison(bare_rates=bare_rates, rates=tuple(0.9 * rate for rate in bare_rates))
    duration = Percentiles(p50_seconds=0.25, p99_seconds=0.5)
    return Report(
        date=date,
        machine=machine(),
        bundle="chorales",
        digest="d" * 64,
        provider="CPUExecutionProvider",
        threads=1,
        chunk_steps=16,
        piece_tokens=256,
        load_before=(load, 0.0, 0.0),
        load_after=(1.0, 0.5, 0.25),
        engine=(
            EngineRow(
                width=64,
                comparison=comparison,
                control=Comparison(bare_rates=bare_rates, rates=bare_rates),
                run_share=0.75,
                same_tokens=same_tokens,
            ),
        ),
        service=(
            ServiceRow(
                clients=8,
                piece_tokens=256,
                comparison=comparison,
                calls=calls,
                latency=duration,
                first_token=duration,
                outside_engine=duration,
            ),
        ),
    )


def comparison(ratio: float, bare_rate: float = 1000.0) -> Comparison:
    return Comparison(bare_rates=(bare_rate,) * 3, rates=(bare_rate * ratio,) * 3)


def tail(p50_seconds: float, p99_seconds: float, count: int = 2000) -> Tail:
    return Tail(p50_seconds=p50_seconds, p99_seconds=p99_seconds, p999_seconds=2 * p99_seconds, count=count)


def load_row(load: float, first_note_p99: float, rejection_p99: float | None = None) -> LoadRow:
    return LoadRow(
        load=load,
        seconds=10.0,
        arrived=2000,
        rejected=0 if rejection_p99 is None else 500,
        first_note=tail(first_note_p99 / 2, first_note_p99),
        whole=tail(0.1, 0.2),
        rejection=None if rejection_p99 is None else tail(rejection_p99 / 2, rejection_p99),
        late=Percentiles(p50_seconds=0.0001, p99_seconds=0.0005),
    )


def full_report(*, peer_ratio: float = 9.0, busy_p99: float = 0.02, same: bool = True) -> Report:
    """A report with every part."""
    return report().model_copy(
        update={
            "precision": "int8",
            "peers": tuple(
                PeerRow(
                    name=name,
                    versions="abacus 9",
                    clients=64,
                    piece_tokens=64,
                    comparison=comparison(ratio),
                    worst_logit=worst,
                    latency=Percentiles(p50_seconds=1.0, p99_seconds=2.0),
                )
                for name, ratio, worst in (("a loop", 40.0, 1e-6), ("a framework", peer_ratio, None))
            ),
            "latency": Latency(
                piece_tokens=256,
                capacity=100.0,
                clients=64,
                slots=256,
                queue_limit=64,
                rows=(load_row(0.0, 0.008), load_row(0.8, busy_p99), load_row(3.0, 2.0, rejection_p99=0.004)),
                goodput=comparison(0.97),
            ),
            "fairness": Fairness(
                others=63,
                other_tokens=16384,
                piece_tokens=64,
                idle_seconds=(0.004, 0.004, 0.004),
                behind_seconds=(0.006, 0.007, 0.012),
            ),
            "growth": Growth(
                rows=(
                    GrowthRow(what="slots", size=256, base=8, width=8, comparison=comparison(0.98)),
                    GrowthRow(what="piece", size=4096, base=256, width=8, comparison=comparison(1.01)),
                    GrowthRow(what="bundle", size=4000000, base=1000000, width=8, comparison=comparison(0.25)),
                ),
                memory=Memory(tokens=(0, 1000, 2000, 3000), resident_bytes=(100, 200, 201, 202)),
            ),
            "precisions": (
                PrecisionRow(width=64, comparison=comparison(3.5), different=1.0),
                PrecisionRow(network="2 x 512", width=64, comparison=comparison(2.5), different=1.0),
            ),
            "operators": (
                OperatorRow(operator="MatMul", nodes=9.0, seconds=75e-6),
                OperatorRow(operator="TopK", nodes=1.0, seconds=24.5e-6),
                OperatorRow(operator="Min", nodes=1.5, seconds=0.5e-6),
            ),
            "sampling": (SamplingRow(precision="int8", width=64, comparison=comparison(0.95)),),
            "prefill": Prefill(
                tokens=2000,
                comparison=comparison(12.0),
                others=16,
                gap_seconds=(0.03, 0.02, 0.025),
                run_seconds=(0.02, 0.02, 0.02),
            ),
            "engine": tuple(row.model_copy(update={"same_tokens": same}) for row in report().engine),
        }
    )


def crowd() -> ChurnReport:
    return ChurnReport(
        date="2030-01-02T03:04:05+00:00",
        machine=machine(),
        bundle="chorales",
        digest="d" * 64,
        provider="CPUExecutionProvider",
        precision="int8",
        distinct=10,
        forced=3,
        ended=1,
        seed=1,
        seconds=12.0,
        episodes=tuple(
            Episode(
                slots=slots,
                width=slots,
                threads=1,
                chunk_sizes=(1, 16),
                requests=50,
                cancelled=5,
                tokens=2000,
                mismatches=wrong,
                widest=slots,
            )
            for slots, wrong in ((5, 0), (64, 1))
        ),
        first_mismatches=(Mismatch(request="a request", episode=1, place=7),),
        differences=(Difference(precision="float32", different=8, requests=10, mean_place=11.5),),
    )
