"""A report for people: as text for a terminal, as Markdown for a page."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from bench.comparison import Comparison
from bench.report import Report
from bench.sections import sections

NOISE_LIMIT: Final = 0.05
"""Change of the reference from round to round above which ratios are called rough."""
IDLE_LOAD: Final = 0.5
"""Load average from which a machine is not called idle."""


def as_text(report: Report) -> str:
    """The report in lines for a terminal."""
    parts = ["\n".join(_setting(report))]
    for section in sections(report):
        lines = [section.header, *section.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
        parts.append("\n".join([section.title, *aligned]))
    parts.append("\n".join(_remarks(report)))
    return "\n\n".join(parts) + "\n"


def as_markdown(report: Report, figures: Mapping[str, str] | None = None) -> str:
    """The report as paragraphs and tables; `figures` are paths of images by the section that they follow."""
    parts = ["  \n".join(_setting(report))]
    for section in sections(report):
        lines = [section.header, ("---:",) * len(section.header), *section.rows]
        parts.append("\n".join([f"**{section.title}**", "", *(f"| {' | '.join(line)} |" for line in lines)]))
        if path := (figures or {}).get(section.key):
            parts.append(f"![{section.title.partition(':')[0]}]({path})")
    parts.append("\n".join(f"- {remark}" for remark in _remarks(report)))
    return "\n\n".join(parts) + "\n"


def _setting(report: Report) -> list[str]:
    machine = report.machine
    versions = (
        f"Python {machine.python}, ONNX Runtime {machine.onnxruntime}, NumPy {machine.numpy}, gRPC {machine.grpcio}"
    )
    code = f", code {machine.revision}" if machine.revision else ""
    if machine.work_cores:
        places = f"the work on core {_listed(machine.work_cores)}, the clients on {_listed(machine.client_cores)}"
    else:
        places = "nobody held to a core"
    return [
        f"{report.bundle} {report.digest[:12]}, {report.precision} on {report.provider}, {report.threads} thread(s), "
        f"{report.date}",
        f"{machine.processor}, {machine.cores} core(s): {places}; {machine.system}",
        f"{versions}{code}",
        f"load average {_load(report.load_before)} before, {_load(report.load_after)} after",
    ]


def _remarks(report: Report) -> list[str]:
    """What must be known to read the numbers."""
    differing = [str(row.width) for row in report.engine if not row.same_tokens]
    rough = [what for what, comparison in _comparisons(report) if comparison.noise > NOISE_LIMIT]
    remarks = list(report.skipped)
    if report.engine and not differing:
        remarks.append("Engine and bare loop wrote the same tokens at every width.")
    if differing:
        remarks.append(f"Engine and bare loop did not write the same tokens at width {', '.join(differing)}.")
    if rough:
        remarks.append(
            f"Rough ({', '.join(rough)}): from one round to the next the reference alone changed by more than "
            f"{NOISE_LIMIT:.0%}."
        )
    if report.load_before[0] >= IDLE_LOAD:
        remarks.append(f"The machine was not idle when this began (load average {report.load_before[0]:.1f}).")
    if any(row.calls < 100 for row in report.service):
        remarks.append("With fewer than 100 calls, p99 is the longest.")
    if report.latency is not None and any(row.whole.count < 1000 for row in report.latency.rows):
        remarks.append("With fewer than 1,000 calls, p99.9 is the longest.")
    if not remarks:
        remarks.append("Nothing unusual.")
    return remarks


def _comparisons(report: Report) -> Iterator[tuple[str, Comparison]]:
    """What is compared with something, and the numbers."""
    yield from ((f"engine {row.width}", row.comparison) for row in report.engine)
    yield from ((f"service {row.clients} x {row.piece_tokens}", row.comparison) for row in report.service)
    yield from ((row.name, row.comparison) for row in report.peers)
    if report.latency is not None:
        yield "goodput", report.latency.goodput
    if report.growth is not None:
        yield from ((f"{row.what} {row.size}", row.comparison) for row in report.growth.rows)
    for row in report.precisions:
        yield " ".join(filter(None, ("int8", row.network, str(row.width)))), row.comparison
    yield from ((f"sampling {row.precision} {row.width}", row.comparison) for row in report.sampling)
    if report.prefill is not None:
        yield "prefill", report.prefill.comparison


def _load(averages: Sequence[float]) -> str:
    return " ".join(f"{average:.2f}" for average in averages)


def _listed(cores: Sequence[int]) -> str:
    return ", ".join(map(str, cores))
