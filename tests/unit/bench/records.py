"""Records made up for tests."""

from bench.comparison import Comparison, Percentiles, TailPercentiles
from bench.machine import Machine
from bench.record import (
    BenchmarkRecord,
    EngineRow,
    Fairness,
    LoadRow,
    Neighbours,
    OpenLoad,
    PeerRow,
    PrecisionRow,
    Prefill,
    ServiceRow,
)
from bench.soak.record import EngineRun, Mismatch, SoakRecord


def machine() -> Machine:
    return Machine(
        cpu="Abacus 9",
        int8_instructions=("beads",),
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


def record(
    *,
    date: str = "2030-01-02T03:04:05+00:00",
    reference_rates: tuple[float, ...] = (1000.0, 1000.0, 1000.0),
    same_tokens: bool = True,
    load: float = 0.1,
    calls: int = 200,
) -> BenchmarkRecord:
    """A record of engine and service."""
    measured = Comparison(reference_rates=reference_rates, rates=tuple(0.9 * rate for rate in reference_rates))
    duration = Percentiles(p50_seconds=0.25, p99_seconds=0.5)
    return BenchmarkRecord(
        date=date,
        machine=machine(),
        bundle="chorales",
        digest="d" * 64,
        provider="CPUExecutionProvider",
        precision="float32",
        threads=1,
        chunk_steps=16,
        piece_tokens=256,
        load_before=(load, 0.0, 0.0),
        load_after=(1.0, 0.5, 0.25),
        engine=(
            EngineRow(
                width=64,
                comparison=measured,
                control=Comparison(reference_rates=reference_rates, rates=reference_rates),
                runner_share=0.75,
                same_tokens=same_tokens,
            ),
        ),
        service=(
            ServiceRow(
                clients=8,
                piece_tokens=256,
                comparison=measured,
                calls=calls,
                latency=duration,
                first_token=duration,
                outside_engine=duration,
            ),
        ),
    )


def comparison(ratio: float, reference_rate: float = 1000.0) -> Comparison:
    return Comparison(reference_rates=(reference_rate,) * 3, rates=(reference_rate * ratio,) * 3)


def tail(p50_seconds: float, p99_seconds: float, count: int = 2000) -> TailPercentiles:
    return TailPercentiles(p50_seconds=p50_seconds, p99_seconds=p99_seconds, p999_seconds=2 * p99_seconds, count=count)


def load_row(load_factor: float, first_token_p99: float, rejection_p99: float | None = None) -> LoadRow:
    return LoadRow(
        load_factor=load_factor,
        seconds=10.0,
        calls=2000,
        rejected=0 if rejection_p99 is None else 500,
        first_token=tail(first_token_p99 / 2, first_token_p99),
        latency=tail(0.1, 0.2),
        rejection=None if rejection_p99 is None else tail(rejection_p99 / 2, rejection_p99),
        send_delay=Percentiles(p50_seconds=0.0001, p99_seconds=0.0005),
    )


def full_record(*, peer_ratio: float = 9.0, busy_p99: float = 0.02) -> BenchmarkRecord:
    """A record with every part."""
    return record().model_copy(
        update={
            "precision": "int8",
            "peers": tuple(
                PeerRow(
                    name=name,
                    versions="abacus 9",
                    clients=64,
                    piece_tokens=64,
                    comparison=comparison(ratio),
                    logit_difference=difference,
                    latency=Percentiles(p50_seconds=1.0, p99_seconds=2.0),
                )
                for name, ratio, difference in (("a loop", 40.0, 1e-6), ("a framework", peer_ratio, None))
            ),
            "open_load": OpenLoad(
                piece_tokens=256,
                capacity=100.0,
                clients=64,
                slots=256,
                queue_limit=64,
                rows=(load_row(0.0, 0.008), load_row(0.8, busy_p99), load_row(3.0, 2.0, rejection_p99=0.004)),
                goodput=comparison(0.97),
            ),
            "fairness": Fairness(
                long_pieces=63,
                long_tokens=16384,
                short_tokens=64,
                idle_seconds=(0.004, 0.004, 0.004),
                loaded_seconds=(0.006, 0.007, 0.012),
            ),
            "neighbours": Neighbours(processes=2, cores=1, clients=64, comparison=comparison(0.3)),
            "precisions": (PrecisionRow(width=64, comparison=comparison(3.5), different=1.0),),
            "prefill": Prefill(
                tokens=2000,
                comparison=comparison(12.0),
                concurrent=16,
                gap_seconds=(0.03, 0.02, 0.025),
                run_seconds=(0.02, 0.02, 0.02),
            ),
        }
    )


def soak_record() -> SoakRecord:
    return SoakRecord(
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
        engines=tuple(
            EngineRun(
                slots=slots,
                width=slots,
                threads=1,
                chunk_sizes=(1, 16),
                requests=50,
                cancelled=5,
                tokens=2000,
                mismatches=wrong,
                max_width=slots,
            )
            for slots, wrong in ((5, 0), (64, 1))
        ),
        first_mismatches=(Mismatch(request="a request", engine=1, position=7),),
    )
