"""What one torture found, as kept in `bench/results/torture/NAME.json`."""

from collections.abc import Iterator
from typing import Final, Literal

from bench.machine import Machine
from bench.record import RESULTS
from bench.served import Resources
from report import Record

TORTURE_RESULTS: Final = RESULTS / "torture"
"""Folder of the records."""


class Finding(Record):
    """What happened in one scenario."""

    scenario: str
    done: str
    """What was done to the server, in words and numbers."""
    seconds: float
    calls: int
    """Of callers that behave well, meanwhile."""
    failed: int
    """Of these, those without a piece, retries included."""
    different: int
    """Pieces that differ from those of an undisturbed server."""
    max_seconds: float
    """The longest of these calls."""
    before: Resources
    """When the server was ready and warm."""
    peak_bytes: int
    """Most resident memory meanwhile."""
    after: Resources
    """Some seconds after the end."""
    facts: tuple[str, ...] = ()
    """What else was seen, a sentence each."""
    faults: tuple[str, ...] = ()
    """What is not as it should be, a sentence each."""


class Sample(Record):
    """The server in the soak at one time."""

    seconds: float
    """Since the server's start."""
    server: int
    """Number of the server process: each restart begins a new one."""
    resources: Resources


class Soak(Record):
    """Hours of mixed calls, with cancellations and restarts."""

    seconds: float
    calls: int
    cancelled: int
    failed: int
    different: int
    restarts: int
    samples: tuple[Sample, ...]
    faults: tuple[str, ...] = ()


class TortureRecord(Record):
    """One run."""

    format_version: Literal[1] = 1
    date: str
    """When it began, UTC, ISO 8601."""
    machine: Machine
    models: tuple[str, ...]
    """Names and digests of the bundles."""
    findings: tuple[Finding, ...]
    soak: Soak | None = None
    skipped: tuple[str, ...] = ()
    """What could not be done here, with the reason, a sentence each."""

    def problems(self) -> Iterator[str]:
        """What is not as it should be, a sentence each."""
        for finding in self.findings:
            for fault in finding.faults:
                yield f"{finding.scenario}: {fault}"
        if self.soak is not None:
            yield from (f"soak: {fault}" for fault in self.soak.faults)
