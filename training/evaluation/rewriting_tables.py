"""The tables of partly given pieces, and the page that shows them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from report import Region, Table, render_template
from training.evaluation.rewriting_record import (
    REWRITING_RESULTS,
    Estimate,
    Figures,
    PartResults,
    RewritingRecord,
    RewrittenPieces,
)

REGION: Final = Region("rewriting", command="make harmonising")
_TEMPLATE: Final = Path(__file__).with_name("rewriting.md.jinja")


def write_rewriting_page(page: Path, folder: Path = REWRITING_RESULTS) -> None:
    """Write the records of a folder into the page.

    Raises:
        PageError: the page cannot be read, or does not have both marks of the region.
        RecordError: a file is not such a record.
        OSError: the page cannot be written.
    """
    REGION.write(page, render_rewriting(RewritingRecord.load_folder(folder)))


def render_rewriting(records: Mapping[str, RewritingRecord]) -> str:
    """The Markdown of all records, by name."""
    parts = [
        {"name": name, "heading": rewriting_heading(record), "tables": rewriting_tables(record)}
        for name, record in records.items()
    ]
    return render_template(_TEMPLATE, parts=parts)


def rewriting_text(record: RewritingRecord) -> str:
    """The record as text for a terminal."""
    parts = ["\n".join(rewriting_heading(record)), *(table.as_text() for table in rewriting_tables(record))]
    return "\n\n".join(parts) + "\n"


def rewriting_heading(record: RewritingRecord) -> list[str]:
    """Lines that say what was evaluated on what."""
    return [
        f"{record.model} {record.digest[:12]}, {record.date}, {record.precision}",
        f"{record.corpus}: {record.split} pieces; seeds from {record.seed}",
    ]


def rewriting_tables(record: RewritingRecord) -> list[Table]:
    """A table for each given part."""
    return [_table(results) for results in record.parts]


def _table(results: PartResults) -> Table:
    has_after = results.real.after_nats is not None
    faults = tuple(results.real.faults)
    header = ["sampling", "particles", "ranked by", "given, nats a token", "above real", "written, nats a token"]
    header += ["bar after, nats a token", "above real"] if has_after else []
    header += ["per 100 steps: parallels", "crossings", "out of range"] if faults else []
    header.append("given notes unchanged")
    rows = [["the real pieces", "", "", *_cells(results.real, None)]]
    rows += [
        [_setting(row), str(row.particles), row.ranking.description, *_cells(row.figures, row)]
        for row in results.rewritten
    ]
    return Table(
        header,
        rows,
        title=(
            f"{results.part.description}: {results.pieces} pieces, {results.given_tokens} given tokens, "
            f"{results.written_tokens} written ones"
        ),
    )


def _setting(row: RewrittenPieces) -> str:
    return f"{row.sampling}, no parallels" if row.no_parallels else str(row.sampling)


def _cells(figures: Figures, row: RewrittenPieces | None) -> list[str]:
    cells = [f"{figures.given_nats.value:.3f}", "" if row is None else _excess(row.given_excess)]
    cells.append(f"{figures.written_nats.value:.3f}")
    if figures.after_nats is not None:
        cells += [f"{figures.after_nats.value:.3f}", "" if row is None else _excess(row.after_excess)]
    if figures.faults:
        parallels = figures.faults["parallel_fifths"].value + figures.faults["parallel_octaves"].value
        cells += [f"{parallels:.2f}", *(f"{figures.faults[name].value:.2f}" for name in ("crossings", "out_of_range"))]
    share = figures.unchanged_share
    return [*cells, f"{share:.0%}" if share == 1 else f"{share:.4%}"]


def _excess(estimate: Estimate | None) -> str:
    return "" if estimate is None else f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})"
