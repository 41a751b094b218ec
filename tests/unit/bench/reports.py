"""Reports made up for tests."""

from bench.machine import Machine
from bench.report import Comparison, EngineRow, Percentiles, Report, ServiceRow


def machine() -> Machine:
    return Machine(
        cpu="Abacus 9",
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
                comparison=comparison,
                calls=calls,
                latency=duration,
                first_token=duration,
                outside_engine=duration,
            ),
        ),
    )
