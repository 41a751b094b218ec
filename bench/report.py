"""What one run of the benchmark found: every number that was measured."""

from pathlib import Path
from typing import Literal

from bench.comparison import Table
from bench.errors import BenchError
from bench.machine import Machine
from bench.rows import (
    EngineRow,
    Fairness,
    Growth,
    Latency,
    OperatorRow,
    PeerRow,
    PrecisionRow,
    Prefill,
    SamplingRow,
    ServiceRow,
)


class Report(Table):
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
    precision: str = "float32"
    """Arithmetic of the graphs that engine, server and their bare loop ran."""
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
    engine: tuple[EngineRow, ...] = ()
    service: tuple[ServiceRow, ...] = ()
    peers: tuple[PeerRow, ...] = ()
    latency: Latency | None = None
    fairness: Fairness | None = None
    growth: Growth | None = None
    precisions: tuple[PrecisionRow, ...] = ()
    sampling: tuple[SamplingRow, ...] = ()
    operators: tuple[OperatorRow, ...] = ()
    prefill: Prefill | None = None
    skipped: tuple[str, ...] = ()
    """What was to be measured and could not be, with the reason, a sentence each."""

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
