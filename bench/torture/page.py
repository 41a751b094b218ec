"""The records as tables, for a terminal and for docs/reliability.md."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from bench.torture.record import TORTURE_RESULTS, Sample, Soak, TortureRecord
from report import Region, Table

REGION: Final = Region("results", command="make torture RECORD=NAME")


def as_text(record: TortureRecord) -> str:
    """The record for a terminal."""
    parts = ["\n".join(description(record)), *(table.as_text() for table in tables(record)), *remarks(record)]
    return "\n\n".join(parts)


def description(record: TortureRecord) -> list[str]:
    """The models, the machine and the versions, one line each."""
    return [f"{', '.join(record.models)}, {record.date}", *record.machine.lines("server, callers and attackers")]


def tables(record: TortureRecord) -> list[Table]:
    """What happened, and the soak."""
    rows = [
        (
            finding.scenario,
            finding.done,
            f"{finding.seconds:.0f} s",
            str(finding.calls),
            str(finding.failed),
            str(finding.different),
            f"{finding.max_seconds:.1f} s",
            " / ".join(
                f"{each >> 20}"
                for each in (finding.before.resident_bytes, finding.peak_bytes, finding.after.resident_bytes)
            ),
        )
        for finding in record.findings
    ]
    header = ("scenario", "what was done", "time", "calls meanwhile", "failed", "different", "longest")
    made = [
        Table(
            (*header, "MiB before / most / after"),
            rows,
            text_columns=2,
            title="Calls of others meanwhile, retries included, and memory of the server",
        )
    ]
    if record.soak is not None:
        made.append(_soak_table(record.soak))
    return made


def remarks(record: TortureRecord) -> list[str]:
    """What else was seen."""
    found = [fact for finding in record.findings for fact in finding.facts]
    return [*found, *record.skipped, *(f"Fault: {problem}." for problem in record.problems())]


def _soak_table(soak: Soak) -> Table:
    rows = []
    for number in range(soak.restarts + 1):
        samples = [sample for sample in soak.samples if sample.server == number]
        if len(samples) >= 4:
            rows.append((str(number + 1), *_quarters(samples)))
    title = (
        f"Soak of {soak.seconds / 60:.0f} minutes: {soak.calls:,} checked calls ({soak.failed} failed, "
        f"{soak.different} different), {soak.cancelled:,} cancelled ones, {soak.restarts} restarts; medians of the "
        "quarters of a process's life"
    )
    return Table(("process", "MiB", "threads", "descriptors"), rows, title=title, text_columns=0)


def _quarters(samples: Sequence[Sample]) -> tuple[str, str, str]:
    size = len(samples) // 4
    parts = [[sample.resources for sample in samples[start * size : (start + 1) * size]] for start in range(4)]

    def medians(value: str, divisor: int) -> str:
        return " / ".join(f"{median(getattr(each, value) for each in part) / divisor:.0f}" for part in parts)

    return medians("resident_bytes", 1 << 20), medians("threads", 1), medians("descriptors", 1)


def results_markdown(records: Mapping[str, TortureRecord]) -> str:
    """The text between the marks of the page, the newest record first."""
    parts = []
    for name, record in sorted(records.items(), key=lambda item: item[1].date, reverse=True):
        parts += [f"### {name}", "  \n".join(description(record)), *(table.as_markdown() for table in tables(record))]
        if said := remarks(record):
            parts.append("\n".join(f"- {remark}" for remark in said))
    return "\n\n".join(parts) or "No results are recorded yet."


def write_page(page: Path, folder: Path = TORTURE_RESULTS) -> None:
    """Write all records of a folder into the page.

    Raises:
        RecordError: a file is not a record.
        PageError: the page cannot be read, or has no region for the results.
    """
    REGION.write(page, results_markdown(TortureRecord.load_folder(folder)))
