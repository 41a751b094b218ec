"""What one determinism soak found, as kept in `bench/results/soak/NAME.json`."""

from collections.abc import Iterable

from pydantic import Field

from bench.record import RunRecord
from report import Record


class EngineRun(Record):
    """One engine, in a process of its own."""

    slots: int
    width: int
    """Maximum batch size of one run; with more slots, the sequences take turns."""
    threads: int
    chunk_sizes: tuple[int, ...]
    """Steps that a run could take."""
    requests: int
    """Answered requests, each compared with its answer alone."""
    cancelled: int
    """Requests that were cancelled while they waited or ran; not among the answered ones."""
    tokens: int
    """Of the answers."""
    mismatches: int
    """Answers that differ from the answer alone."""
    max_width: int
    """Rows of the widest run."""
    streamed: int = 0
    """Answered requests whose tokens were read while they ran, and compared as well."""
    evaluated: int = 0
    """Evaluations in batches, each compared with the evaluation of the piece alone."""


class Mismatch(Record):
    """One answer that differs."""

    request: str
    engine: int
    """Index of the engine."""
    position: int
    """First token that differs; the length of the shorter answer if it is the beginning of the other."""


class SoakRecord(RunRecord):
    """One run of the soak."""

    distinct: int
    """Different requests."""
    forced: int
    """Those of them with forced tokens."""
    ended: int
    """Those of them that end with their end token."""
    kinds: dict[str, int] = Field(default_factory=dict)
    """Different requests of each kind; a request may be of several kinds. Empty in older records."""
    answers_sha256: str = ""
    """Of the answers alone; empty in older records."""
    seed: int
    """Of the requests and their arrivals."""
    seconds: float
    """Duration of the soak."""
    engines: tuple[EngineRun, ...]
    first_mismatches: tuple[Mismatch, ...]

    def total(self, field: str) -> int:
        """Sum of a field over all engines."""
        return sum(int(getattr(engine, field)) for engine in self.engines)


def soak_lines(record: SoakRecord) -> list[str]:
    """The record as text, one fact per line."""
    engines = record.engines
    slots, widths, threads = (
        _listed({getattr(engine, field) for engine in engines}) for field in ("slots", "width", "threads")
    )
    chunks = " or ".join(_listed(sizes) for sizes in sorted({engine.chunk_sizes for engine in engines}))
    lines = [
        f"{record.bundle} {record.digest[:12]}, {record.precision} on {record.provider}, {record.date}; "
        f"{record.machine.processor}, ONNX Runtime {record.machine.onnxruntime}, code {record.machine.revision}",
        f"{record.total('requests'):,} answers compared with those of {record.distinct:,} different requests alone: "
        f"{record.total('mismatches'):,} mismatches",
        f"{record.total('tokens'):,} tokens, {record.total('cancelled'):,} more requests cancelled, {len(engines)} "
        f"engines in processes of their own, {record.seconds:,.0f} s",
        f"slots {slots}; maximum batch size {widths}; threads {threads}; steps of a run {chunks}; widest run "
        f"{max(engine.max_width for engine in engines)} rows",
        f"{record.forced:,} of the different requests have forced tokens, {record.ended:,} end with their end token",
    ]
    if record.kinds:
        counts = ", ".join(f"{kind} {count:,}" for kind, count in record.kinds.items())
        lines.append(
            f"kinds of the different requests: {counts}; {record.total('streamed'):,} answers were streams as well, "
            f"{record.total('evaluated'):,} evaluations in batches compared with those of single pieces"
        )
    if record.answers_sha256:
        lines.append(f"sha256 of the answers alone: {record.answers_sha256}")
    lines += [
        f"mismatch in engine {mismatch.engine} at token {mismatch.position}: {mismatch.request}"
        for mismatch in record.first_mismatches
    ]
    return lines


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))
