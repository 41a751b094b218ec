"""The whole torture: from options to a record."""

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.machine import describe_machine
from bench.torture.record import Finding, Soak, TortureRecord
from bench.torture.scenarios import check_names, run_scenario, scenarios
from bench.torture.soak import run_soak
from bench.torture.stopping import NAME as STOPPING
from bench.torture.stopping import stop_under_load
from music.bundle import load_bundle


@dataclass(frozen=True)
class TortureOptions:
    """What one run does."""

    models: Path = Path("models")
    scenarios: tuple[str, ...] = ()
    """Names; all if empty."""
    seconds: float = 20.0
    """Of each scenario."""
    soak_minutes: float = 0.0
    restarts: int = 3
    """Of the server in the soak."""


def run_torture(options: TortureOptions) -> TortureRecord:
    """Run the scenarios, then the soak; progress goes to stderr.

    Raises:
        BenchError: a scenario does not exist, a server does not start or is gone.
        FantasiaClientError: a call failed that nothing disturbed.
        FantasiaError: a bundle is refused.
    """
    check_names(options.scenarios)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    bundles = [load_bundle(path.parent) for path in sorted(options.models.rglob("manifest.json"))]
    findings: list[Finding] = []
    with (
        TemporaryDirectory() as folder,
        scenarios(options.models, Path(folder), options.scenarios) as (wanted, skipped),
    ):
        for scenario in wanted:
            sys.stderr.write(f"torture: {scenario.name}\n")
            findings.append(run_scenario(scenario, options.models, options.seconds))
    if not options.scenarios or STOPPING in options.scenarios:
        sys.stderr.write(f"torture: {STOPPING}\n")
        findings.append(stop_under_load(options.models))
    soak: Soak | None = None
    if options.soak_minutes:
        soak = run_soak(options.models, options.soak_minutes * 60, options.restarts)
    return TortureRecord(
        date=date,
        machine=describe_machine(),
        models=tuple(f"{bundle.name} {bundle.digest[:12]}" for bundle in bundles),
        findings=tuple(findings),
        soak=soak,
        skipped=tuple(skipped),
    )
