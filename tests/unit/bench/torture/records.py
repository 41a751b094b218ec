"""Made-up records of the torture."""

from bench.served import Resources
from bench.torture.record import Finding, Sample, Soak, TortureRecord
from tests.unit.bench.records import machine

MIB = 1 << 20


def resources(mib: float = 400, threads: int = 20, descriptors: int = 30) -> Resources:
    return Resources(resident_bytes=int(mib * MIB), threads=threads, descriptors=descriptors)


def finding(**changes: object) -> Finding:
    values = {
        "scenario": "rapid reset",
        "done": "4 connections opened and reset 100 streams",
        "seconds": 20.0,
        "calls": 80,
        "failed": 0,
        "different": 0,
        "max_seconds": 1.5,
        "before": resources(),
        "peak_bytes": 450 * MIB,
        "after": resources(410),
        "facts": ("A fact.",),
    }
    return Finding.model_validate(values | changes)


def samples(*used: Resources) -> tuple[Sample, ...]:
    return tuple(Sample(seconds=float(at), server=0, resources=each) for at, each in enumerate(used))


def record(**changes: object) -> TortureRecord:
    soak = Soak(
        seconds=7200.0,
        calls=1000,
        cancelled=900,
        failed=0,
        different=0,
        restarts=0,
        samples=samples(*[resources()] * 16),
    )
    values = {
        "date": "2030-01-02T03:04:05+00:00",
        "machine": machine(),
        "models": ("chorales dddddddddddd",),
        "findings": (finding(),),
        "soak": soak,
        "skipped": ("The clock did not jump: libfaketime is not installed.",),
    }
    return TortureRecord.model_validate(values | changes)
