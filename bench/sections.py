"""A report's tables, one after the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench import goals
from bench.comparison import Comparison, Tail
from bench.report import Report
from bench.rows import (
    OPERATORS_WIDTH,
    EngineRow,
    GrowthRow,
    LoadRow,
    OperatorRow,
    PeerRow,
    PrecisionRow,
    SamplingRow,
    ServiceRow,
)

_COMPARED: Final = ("ratio", "middle half", "goal")
_ROUNDS: Final = ("noise", "rounds")
_TOLD_SHARE: Final = 0.01  # of a step; operators that take less are told together
_WHAT: Final = {"slots": "slots of the engine", "piece": "tokens of a piece", "bundle": "parameters of the network"}


@dataclass(frozen=True, slots=True)
class Section:
    """One table."""

    key: str
    """Names it, in links and files."""
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def sections(report: Report) -> list[Section]:
    """All that there is something to say in."""
    made = [
        _goals(report),
        _engine(report),
        _service(report),
        _peers(report),
        *_latency(report),
        _fairness(report),
        *_growth(report),
        _precisions(report),
        _sampling(report),
        _operators(report),
        _prefill(report),
    ]
    return [section for section in made if section is not None and section.rows]


def _goals(report: Report) -> Section:
    rows = tuple(
        (verdict.what, verdict.goal.told(verdict.value), verdict.goal.words, _met(verdict))
        for verdict in goals.verdicts(report)
    )
    return Section("goals", "Goals", ("what", "measured", "goal", "met"), rows)


def _met(verdict: goals.Verdict) -> str:
    return "met" if verdict.goal.met(verdict.value) else "missed"


def _engine(report: Report) -> Section:
    title = (
        f"Engine / bare loop: pieces of {report.piece_tokens} tokens, {report.precision}; "
        f"bare loop = one ONNX Runtime session, {report.chunk_steps} steps a run"
    )
    header = ("width", *_COMPARED, "engine tok/s", "bare tok/s", *_ROUNDS, "control", "in runs")

    def cells(row: EngineRow) -> tuple[str, ...]:
        compared = _compared(row.width, row.comparison, goals.ENGINE)
        return (*compared, f"{row.control.ratio:.3f}", f"{row.run_share:.1%}")

    return Section("engine", title, header, tuple(map(cells, report.engine)))


def _service(report: Report) -> Section:
    title = (
        f"Service / bare loop of the same width, on pieces of the same length: {report.precision}; "
        "calls over gRPC from another process"
    )
    header = (
        *("clients", "tokens a piece", *_COMPARED, "service tok/s", "bare tok/s", *_ROUNDS),
        *("calls", "latency p50", "p99", "first token p50", "p99", "outside engine p50"),
    )

    def cells(row: ServiceRow) -> tuple[str, ...]:
        durations = (
            *(row.latency.p50_seconds, row.latency.p99_seconds),
            *(row.first_token.p50_seconds, row.first_token.p99_seconds),
            row.outside_engine.p50_seconds,
        )
        aims = goals.SERVICE if row.piece_tokens == report.piece_tokens else {}
        clients, *compared = _compared(row.clients, row.comparison, aims)
        return (clients, f"{row.piece_tokens:,}", *compared, str(row.calls), *map(_milliseconds, durations))

    return Section("service", title, header, tuple(map(cells, report.service)))


def _peers(report: Report) -> Section:
    clients = next((peer.clients for peer in report.peers), 0)
    title = (
        f"Service / other ways to serve the same weights: {clients} clients, "
        f"the service in {report.precision}, the others in float32"
    )
    header = (
        *("what", "made with", "tokens a piece", *_COMPARED, "service tok/s", "its tok/s", *_ROUNDS),
        *("its latency p50", "p99", "worst logit"),
    )

    def cells(row: PeerRow) -> tuple[str, ...]:
        return (
            row.name,
            row.versions,
            f"{row.piece_tokens:,}",
            *_compared(row.clients, row.comparison, goals.PEERS)[1:],
            *map(_milliseconds, (row.latency.p50_seconds, row.latency.p99_seconds)),
            "" if row.worst_logit is None else f"{row.worst_logit:.0e}",
        )

    return Section("peers", title, header, tuple(map(cells, report.peers)))


def _latency(report: Report) -> list[Section]:
    latency = report.latency
    if latency is None:
        return []
    title = (
        f"Open load, Poisson arrivals: pieces of {latency.piece_tokens} tokens, "
        f"capacity {latency.capacity:,.1f} pieces/s with {latency.clients} clients, "
        f"{latency.slots} slots, {latency.queue_limit} may wait"
    )
    header = (
        *("load", "calls", "rejected", "first note p50", "p99", "p99.9", "goal"),
        *("whole piece p50", "p99", "p99.9", "rejection p50", "p99", "sent late p99"),
    )

    def cells(row: LoadRow) -> tuple[str, ...]:
        rejection = ("", "") if row.rejection is None else _tail(row.rejection)[:2]
        return (
            f"{row.load:.0%}" if row.load else "idle",
            f"{row.arrived:,}",
            f"{row.rejected:,}",
            *_tail(row.first_note),
            goals.goal_of_load(row, latency.rows),
            *_tail(row.whole),
            *rejection,
            _milliseconds(row.late.p99_seconds),
        )

    goodput = Section(
        "goodput",
        f"Goodput at {goals.OVERLOAD:.0%} load / capacity: tokens of answered pieces, from the first rejection on",
        ("load", *_COMPARED, "goodput tok/s", "capacity tok/s", *_ROUNDS),
        ((f"{goals.OVERLOAD:.0%}", *_comparison(latency.goodput, goals.GOODPUT)),),
    )
    return [Section("latency", title, header, tuple(map(cells, latency.rows))), goodput]


def _fairness(report: Report) -> Section | None:
    fairness = report.fairness
    if fairness is None:
        return None
    title = (
        f"Fairness: first note of a piece of {fairness.piece_tokens} tokens behind {fairness.others} pieces of "
        f"{fairness.other_tokens:,} tokens / idle"
    )
    low, high = fairness.middle_half
    row = (
        f"{fairness.ratio:.2f}",
        f"{low:.2f} to {high:.2f}",
        goals.FAIRNESS.cell(fairness.ratio),
        _milliseconds(_median(fairness.idle_seconds)),
        _milliseconds(_median(fairness.behind_seconds)),
        str(len(fairness.ratios)),
    )
    return Section("fairness", title, (*_COMPARED, "idle p50", "behind p50", "rounds"), (row,))


def _growth(report: Report) -> list[Section]:
    if report.growth is None:
        return []

    def cells(row: GrowthRow) -> tuple[str, ...]:
        low, high = row.comparison.middle_half
        return (
            _WHAT[row.what],
            f"{row.size:,}",
            f"{row.base:,}",
            str(row.width),
            f"{row.microseconds:.1f}",
            f"{1 / row.comparison.ratio:.3f}",
            f"{1 / high:.3f} to {1 / low:.3f}",
            f"{row.comparison.noise:.1%}",
            str(len(row.comparison.rates)),
        )

    header = ("what grows", "to", "from", "width", "us a token", "cost ratio", "middle half", *_ROUNDS)
    memory = report.growth.memory
    samples = list(zip(memory.tokens, memory.resident_bytes, strict=True))
    shown = samples[:: max(len(samples) // 8, 1)]
    if shown[-1] != samples[-1]:
        shown.append(samples[-1])
    return [
        Section("growth", "Growth: what a token costs", header, tuple(map(cells, report.growth.rows))),
        Section(
            "memory",
            "Memory: what the server's process holds after so many tokens",
            tuple(f"{tokens:,}" for tokens, _ in shown),
            (tuple(f"{resident / 2**20:.1f} MiB" for _, resident in shown),),
        ),
    ]


def _precisions(report: Report) -> Section:
    def cells(row: PrecisionRow) -> tuple[str, ...]:
        compared = _compared(row.width, row.comparison, {} if row.network else goals.INT8)
        return (row.network or report.bundle, *compared, f"{row.different:.0%}")

    header = ("network", "width", *_COMPARED, "int8 tok/s", "float32 tok/s", *_ROUNDS, "pieces that differ")
    title = f"int8 / float32, bare loops: pieces of {report.piece_tokens} tokens"
    return Section("precision", title, header, tuple(map(cells, report.precisions)))


def _sampling(report: Report) -> Section:
    def cells(row: SamplingRow) -> tuple[str, ...]:
        low, high = row.comparison.middle_half
        goal = goals.SAMPLING.get(row.width)
        return (
            row.precision,
            str(row.width),
            f"{row.share:.1%}",
            f"{1 - high:.1%} to {1 - low:.1%}",
            goal.cell(row.share * 100.0) if goal else "",
            f"{row.comparison.noise:.1%}",
            str(len(row.comparison.rates)),
        )

    header = ("precision", "width", "share of a step", "middle half", "goal", *_ROUNDS)
    return Section(
        "sampling", "Sampling: a step less the same step without it", header, tuple(map(cells, report.sampling))
    )


def _operators(report: Report) -> Section:
    step = sum(row.seconds for row in report.operators)

    def cells(name: str, rows: Sequence[OperatorRow]) -> tuple[str, ...]:
        seconds = sum(row.seconds for row in rows)
        return (name, f"{sum(row.nodes for row in rows):.1f}", f"{seconds * 1e6:.1f}", f"{seconds / step:.1%}")

    ordered = sorted(report.operators, key=lambda row: -row.seconds)
    told = [row for row in ordered if row.seconds >= _TOLD_SHARE * step]
    others = ordered[len(told) :]
    rows = [cells(row.operator, [row]) for row in told]
    rows += [cells(f"{len(others)} others", others)] if others else []
    title = f"Where a step goes: the {report.precision} graph in a bare loop, width {OPERATORS_WIDTH}"
    return Section("operators", title, ("operator", "nodes", "us a step", "share"), tuple(rows))


def _prefill(report: Report) -> Section | None:
    prefill = report.prefill
    if prefill is None:
        return None
    row = (
        f"{prefill.tokens:,}",
        *_comparison(prefill.comparison, goals.PREFILL),
        _milliseconds(_median(prefill.run_seconds)),
        _milliseconds(_median(prefill.gap_seconds)),
        f"{prefill.stall:.2f}",
        goals.STALL.cell(prefill.stall),
    )
    header = (
        *("tokens", *_COMPARED, "at once tok/s", "stepping tok/s", *_ROUNDS),
        *("others' run", "longest gap", "gap / run", "goal"),
    )
    title = f"Prefill: a primer at once / stepping through it; and beside it {prefill.others} pieces that run"
    return Section("prefill", title, header, (row,))


def _compared(width: int, comparison: Comparison, aims: dict[int, goals.Goal]) -> tuple[str, ...]:
    return (str(width), *_comparison(comparison, aims.get(width)))


def _comparison(comparison: Comparison, goal: goals.Goal | None) -> tuple[str, ...]:
    low, high = comparison.middle_half
    digits = 3 if comparison.ratio < 2 else 2
    return (
        f"{comparison.ratio:.{digits}f}",
        f"{low:.{digits}f} to {high:.{digits}f}",
        "" if goal is None else goal.cell(comparison.ratio),
        f"{comparison.rate:,.0f}",
        f"{comparison.bare_rate:,.0f}",
        f"{comparison.noise:.1%}",
        str(len(comparison.rates)),
    )


def _tail(tail: Tail) -> tuple[str, str, str]:
    p50, p99, p999 = map(_milliseconds, (tail.p50_seconds, tail.p99_seconds, tail.p999_seconds))
    return p50, p99, p999


def _median(values: tuple[float, ...]) -> float:
    return sorted(values)[len(values) // 2]


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"
