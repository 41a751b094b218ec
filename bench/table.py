"""A report for people: as text for a terminal, as Markdown for a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.report import Comparison, EngineRow, Report, ServiceRow

ENGINE_GOALS: Final = {64: 0.95}
"""Ratio to reach, by width."""
SERVICE_GOALS: Final = {64: 0.90}
"""The same by number of clients."""
NOISE_LIMIT: Final = 0.05
"""Bare loop's change from round to round above which ratios are called rough."""
IDLE_LOAD: Final = 0.5
"""Load average from which a machine is not called idle."""

_ENGINE_HEADER: Final = (
    "width",
    "ratio",
    "middle half",
    "goal",
    "engine tok/s",
    "bare tok/s",
    "noise",
    "rounds",
    "control",
    "in runs",
)
_SERVICE_HEADER: Final = (
    *("clients", "ratio", "middle half", "goal", "service tok/s", "bare tok/s", "noise", "rounds"),
    *("calls", "latency p50", "p99", "first token p50", "p99", "outside engine p50"),
)


@dataclass(frozen=True, slots=True)
class Section:
    """One table."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def as_text(report: Report) -> str:
    """The report in lines for a terminal."""
    parts = ["\n".join(_setting(report))]
    for section in _sections(report):
        lines = [section.header, *section.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
        parts.append("\n".join([section.title, *aligned]))
    parts.append("\n".join(_remarks(report)))
    return "\n\n".join(parts) + "\n"


def as_markdown(report: Report) -> str:
    """The report as paragraphs and tables."""
    parts = ["  \n".join(_setting(report))]
    for section in _sections(report):
        lines = [section.header, ("---:",) * len(section.header), *section.rows]
        parts.append("\n".join([f"**{section.title}**", "", *(f"| {' | '.join(line)} |" for line in lines)]))
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
        f"{report.bundle} {report.digest[:12]} on {report.provider}, {report.threads} thread(s), {report.date}",
        f"{machine.cpu}, {machine.cores} core(s): {places}; {machine.system}",
        f"{versions}{code}",
        f"load average {_load(report.load_before)} before, {_load(report.load_after)} after",
    ]


def _sections(report: Report) -> list[Section]:
    each = f"pieces of {report.piece_tokens} tokens"
    bare = f"bare loop = one ONNX Runtime session, {report.chunk_steps} steps a run"
    sections = []
    if report.engine:
        title = f"Engine / bare loop: {each}; {bare}"
        sections.append(Section(title, _ENGINE_HEADER, tuple(map(_engine_row, report.engine))))
    if report.service:
        title = f"Service / bare loop of the same width: {each}; calls over gRPC from another process"
        sections.append(Section(title, _SERVICE_HEADER, tuple(map(_service_row, report.service))))
    return sections


def _engine_row(row: EngineRow) -> tuple[str, ...]:
    return (
        *_compared(row.width, row.comparison, ENGINE_GOALS.get(row.width)),
        f"{row.control.ratio:.3f}",
        f"{row.run_share:.1%}",
    )


def _service_row(row: ServiceRow) -> tuple[str, ...]:
    durations = (
        *(row.latency.p50_seconds, row.latency.p99_seconds),
        *(row.first_token.p50_seconds, row.first_token.p99_seconds),
        row.outside_engine.p50_seconds,
    )
    compared = _compared(row.clients, row.comparison, SERVICE_GOALS.get(row.clients))
    return (*compared, str(row.calls), *(f"{seconds * 1e3:.1f} ms" for seconds in durations))


def _compared(width: int, comparison: Comparison, goal: float | None) -> tuple[str, ...]:
    low, high = comparison.middle_half
    return (
        str(width),
        f"{comparison.ratio:.3f}",
        f"{low:.3f} to {high:.3f}",
        "" if goal is None else f"{goal:.2f}",
        f"{comparison.rate:,.0f}",
        f"{comparison.bare_rate:,.0f}",
        f"{comparison.noise:.1%}",
        str(len(comparison.rates)),
    )


def _remarks(report: Report) -> list[str]:
    """What must be known to read the numbers."""
    differing = [str(row.width) for row in report.engine if not row.same_tokens]
    rough = [f"engine {row.width}" for row in report.engine if row.comparison.noise > NOISE_LIMIT]
    rough += [f"service {row.clients}" for row in report.service if row.comparison.noise > NOISE_LIMIT]
    remarks = []
    if report.engine and not differing:
        remarks.append("Engine and bare loop wrote the same tokens at every width.")
    if differing:
        remarks.append(f"Engine and bare loop did not write the same tokens at width {', '.join(differing)}.")
    if rough:
        remarks.append(
            f"Rough ({', '.join(rough)}): from one round to the next the bare loop alone changed by more than "
            f"{NOISE_LIMIT:.0%}."
        )
    if report.load_before[0] >= IDLE_LOAD:
        remarks.append(f"The machine was not idle when this began (load average {report.load_before[0]:.1f}).")
    if any(row.calls < 100 for row in report.service):
        remarks.append("With fewer than 100 calls, p99 is the longest.")
    if not remarks:
        remarks.append("Nothing unusual.")
    return remarks


def _load(averages: Sequence[float]) -> str:
    return " ".join(f"{average:.2f}" for average in averages)


def _listed(cores: Sequence[int]) -> str:
    return ", ".join(map(str, cores))
