"""Writes the recorded results into docs/performance.md."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

from bench.figures import draw_figures, figure_paths
from bench.fuzz.record import recorded_lines
from bench.record import RESULTS, BenchmarkRecord
from bench.soak.record import SoakRecord, soak_lines
from bench.tables import description, remarks, tables
from report import Region, render_template

REGION: Final = Region("results", command="make record")
T = TypeVar("T", BenchmarkRecord, SoakRecord)
_TEMPLATE: Final = Path(__file__).with_name("results.md.jinja")


def results_markdown(
    records: Mapping[str, BenchmarkRecord], soaks: Mapping[str, SoakRecord], fuzzed: Mapping[str, Sequence[str]]
) -> str:
    """The text between the marks of the page: records by name, the newest first; then the lines of fuzzed ones."""
    shown = [
        {
            "name": name,
            "description": description(record),
            "tables": tables(record),
            "figures": figure_paths(name, record),
            "remarks": remarks(record),
        }
        for name, record in _newest_first(records)
    ]
    return render_template(
        _TEMPLATE,
        records=shown,
        soaks=[(name, soak_lines(soak)) for name, soak in _newest_first(soaks)],
        fuzzed=list(fuzzed.items()),
    )


def write_page(page: Path, folder: Path = RESULTS) -> None:
    """Write all records of a folder into the page, and draw their figures beside it.

    Raises:
        RecordError: a file is not a record.
        PageError: the page cannot be read, or has no region for the results.
    """
    records = BenchmarkRecord.load_folder(folder)
    soaks = SoakRecord.load_folder(folder / "soak")
    REGION.write(page, results_markdown(records, soaks, recorded_lines(folder / "fuzz")))
    for name, record in records.items():
        draw_figures(name, record, page.parent)


def _newest_first(records: Mapping[str, T]) -> list[tuple[str, T]]:
    return sorted(records.items(), key=lambda item: item[1].date, reverse=True)
