"""A record as tables, with remarks on its numbers."""

from collections.abc import Iterator
from statistics import median
from typing import Final

from bench.comparison import Comparison, Percentiles, TailPercentiles
from bench.goals import goals
from bench.record import OVERLOAD, BenchmarkRecord, EngineRow, LoadRow, PeerRow, ServiceRow
from report import Table

MAX_NOISE: Final = 0.05
"""Change of the reference from round to round above which a ratio is called noisy."""
MAX_IDLE_LOAD: Final = 0.5
"""Load average above which a machine is not called idle."""
_RATIO: Final = ("ratio", "quartiles")
_ROUNDS: Final = ("noise", "rounds")


def as_text(record: BenchmarkRecord) -> str:
    """The record for a terminal."""
    parts = [*description(record), "", *(f"{table.as_text()}\n" for table in tables(record).values()), *remarks(record)]
    return "\n".join(parts) + "\n"


def description(record: BenchmarkRecord) -> list[str]:
    """The bundle, the machine and the versions, one line each."""
    machine = record.machine
    cores = "not pinned to cores"
    if machine.work_cores:
        work, clients = (", ".join(map(str, ids)) for ids in (machine.work_cores, machine.client_cores))
        cores = f"model on core {work}, clients on {clients}"
    before, after = (
        " ".join(f"{average:.2f}" for average in averages) for averages in (record.load_before, record.load_after)
    )
    code = f", code {machine.revision}" if machine.revision else ""
    return [
        f"{record.bundle} {record.digest[:12]}, {record.precision} on {record.provider}, {record.threads} thread(s), "
        f"{record.date}",
        f"{machine.processor}, {machine.cores} core(s), {cores}; {machine.system}",
        f"Python {machine.python}, ONNX Runtime {machine.onnxruntime}, NumPy {machine.numpy}, gRPC {machine.grpcio}"
        f"{code}",
        f"load average {before} before, {after} after",
    ]


def tables(record: BenchmarkRecord) -> dict[str, Table]:
    """A table for each part that was measured, by the part's name."""
    made = {
        "goals": Table(("what", "measured", "goal", "met"), [goal.cells() for goal in goals(record)], title="Goals"),
        "engine": _engine(record),
        "service": _service(record),
        "peers": _peers(record),
        **_load(record),
        "fairness": _fairness(record),
        "neighbours": _neighbours(record),
        "precision": _precision(record),
        "prefill": _prefill(record),
    }
    return {name: table for name, table in made.items() if table.rows}


def remarks(record: BenchmarkRecord) -> list[str]:
    """Remarks on the numbers: noise, load and differences, one sentence each."""
    found = list(record.skipped)
    different = ", ".join(str(row.width) for row in record.engine if not row.same_tokens)
    if different:
        found.append(f"Engine and bare loop did not write the same tokens at width {different}.")
    elif record.engine:
        found.append("Engine and bare loop wrote the same tokens at every width.")
    noisy = ", ".join(what for what, comparison in _comparisons(record) if comparison.noise > MAX_NOISE)
    if noisy:
        found.append(f"Noisy ({noisy}): the reference changed by more than {MAX_NOISE:.0%} from round to round.")
    if record.load_before[0] > MAX_IDLE_LOAD:
        found.append(f"The machine was not idle at the beginning (load average {record.load_before[0]:.1f}).")
    if any(row.calls < 100 for row in record.service):
        found.append("With fewer than 100 calls, p99 is the longest.")
    if record.open_load is not None and any(row.latency.count < 1000 for row in record.open_load.rows):
        found.append("With fewer than 1,000 calls, p99.9 is the longest.")
    return found


def _engine(record: BenchmarkRecord) -> Table:
    def cells(row: EngineRow) -> tuple[str, ...]:
        return (str(row.width), *_compared(row.comparison), f"{row.control.ratio:.3f}", f"{row.runner_share:.1%}")

    return Table(
        ("width", *_RATIO, "engine tok/s", "bare tok/s", *_ROUNDS, "control", "in runner"),
        [cells(row) for row in record.engine],
        title=f"Engine / bare loop: pieces of {record.piece_tokens} tokens, {record.precision}; "
        f"bare loop: one ONNX Runtime session, {record.chunk_steps} steps a run",
        text_columns=0,
    )


def _service(record: BenchmarkRecord) -> Table:
    def cells(row: ServiceRow) -> tuple[str, ...]:
        durations = (*_percentiles(row.latency), *_percentiles(row.first_token))
        return (
            *(str(row.clients), f"{row.piece_tokens:,}", *_compared(row.comparison), f"{row.calls:,}", *durations),
            _milliseconds(row.outside_engine.p50_seconds),
        )

    return Table(
        (
            *("clients", "tokens a piece", *_RATIO, "service tok/s", "bare tok/s", *_ROUNDS),
            *("calls", "latency p50", "p99", "first token p50", "p99", "outside engine p50"),
        ),
        [cells(row) for row in record.service],
        title=f"Service / bare loop of the same width and piece length: {record.precision}; "
        "calls over gRPC from another process",
        text_columns=0,
    )


def _peers(record: BenchmarkRecord) -> Table:
    def cells(row: PeerRow) -> tuple[str, ...]:
        difference = "" if row.logit_difference is None else f"{row.logit_difference:.0e}"
        tokens = f"{row.piece_tokens:,}"
        return (row.name, row.versions, tokens, *_compared(row.comparison), *_percentiles(row.latency), difference)

    clients = next((peer.clients for peer in record.peers), 0)
    return Table(
        (
            *("peer", "made with", "tokens a piece", *_RATIO, "service tok/s", "peer tok/s", *_ROUNDS),
            *("peer latency p50", "p99", "logit difference"),
        ),
        [cells(row) for row in record.peers],
        title=f"Service / peers that serve the same weights: {clients} clients, "
        f"service in {record.precision}, peers in float32",
        text_columns=2,
    )


def _load(record: BenchmarkRecord) -> dict[str, Table]:
    load = record.open_load
    if load is None:
        return {}

    def cells(row: LoadRow) -> tuple[str, ...]:
        return (
            *(f"{row.load_factor:.0%}" if row.load_factor else "idle", f"{row.calls:,}", f"{row.rejected:,}"),
            *(*_percentiles(row.first_token), *_percentiles(row.latency)),
            *(("", "") if row.rejection is None else _percentiles(row.rejection)[:2]),
            _milliseconds(row.send_delay.p99_seconds),
        )

    header = (
        *("load", "calls", "rejected", "first token p50", "p99", "p99.9", "latency p50", "p99", "p99.9"),
        *("rejection p50", "p99", "send delay p99"),
    )
    title = (
        f"Open load, Poisson arrivals: pieces of {load.piece_tokens} tokens, capacity {load.capacity:,.1f} pieces/s "
        f"with {load.clients} clients, {load.slots} slots, queue of {load.queue_limit}"
    )
    goodput = Table(
        ("load", *_RATIO, "goodput tok/s", "capacity tok/s", *_ROUNDS),
        [(f"{OVERLOAD:.0%}", *_compared(load.goodput))],
        title="Goodput / capacity: tokens of answered pieces, from the first rejection on",
    )
    return {"load": Table(header, [cells(row) for row in load.rows], title=title), "goodput": goodput}


def _fairness(record: BenchmarkRecord) -> Table:
    header = (*_RATIO, "idle p50", "loaded p50", "rounds")
    fairness = record.fairness
    if fairness is None:
        return Table(header, ())
    ratio, quartiles, *_, rounds = _compared(fairness.comparison)
    medians = (_milliseconds(median(seconds)) for seconds in (fairness.idle_seconds, fairness.loaded_seconds))
    title = (
        f"Fairness: first token of a piece of {fairness.short_tokens} tokens beside {fairness.long_pieces} pieces of "
        f"{fairness.long_tokens:,} tokens / idle"
    )
    return Table(header, [(ratio, quartiles, *medians, rounds)], title=title, text_columns=0)


def _neighbours(record: BenchmarkRecord) -> Table:
    header = (*_RATIO, "beside them tok/s", "alone tok/s", *_ROUNDS, "fair share")
    neighbours = record.neighbours
    if neighbours is None:
        return Table(header, ())
    title = (
        f"Neighbours: {neighbours.clients} clients, beside {neighbours.processes} computing processes on the server's "
        f"{neighbours.cores} core(s) / alone"
    )
    row = (*_compared(neighbours.comparison), f"{neighbours.fair_share:.3f}")
    return Table(header, [row], title=title, text_columns=0)


def _precision(record: BenchmarkRecord) -> Table:
    return Table(
        ("width", *_RATIO, "int8 tok/s", "float32 tok/s", *_ROUNDS, "pieces that differ"),
        [(str(row.width), *_compared(row.comparison), f"{row.different:.0%}") for row in record.precisions],
        title=f"int8 / float32, bare loops: pieces of {record.piece_tokens} tokens",
        text_columns=0,
    )


def _prefill(record: BenchmarkRecord) -> Table:
    header = (
        *("tokens", *_RATIO, "prefill tok/s", "stepping tok/s", *_ROUNDS),
        *("run of the others", "longest gap", "gap / run"),
    )
    prefill = record.prefill
    if prefill is None:
        return Table(header, ())
    medians = (_milliseconds(median(seconds)) for seconds in (prefill.run_seconds, prefill.gap_seconds))
    title = f"Prefill: reading a primer / stepping through it, and its effect on {prefill.concurrent} running pieces"
    row = (f"{prefill.tokens:,}", *_compared(prefill.comparison), *medians, f"{prefill.stall:.2f}")
    return Table(header, [row], title=title, text_columns=0)


def _comparisons(record: BenchmarkRecord) -> Iterator[tuple[str, Comparison]]:
    yield from ((f"engine {row.width}", row.comparison) for row in record.engine)
    yield from ((f"service {row.clients} x {row.piece_tokens}", row.comparison) for row in record.service)
    yield from ((row.name, row.comparison) for row in record.peers)
    if record.open_load is not None:
        yield "goodput", record.open_load.goodput
    yield from ((f"int8 {row.width}", row.comparison) for row in record.precisions)
    if record.prefill is not None:
        yield "prefill", record.prefill.comparison


def _compared(comparison: Comparison) -> tuple[str, ...]:
    low, high = comparison.quartiles
    digits = 3 if comparison.ratio < 2 else 2
    return (
        f"{comparison.ratio:.{digits}f}",
        f"{low:.{digits}f} to {high:.{digits}f}",
        f"{comparison.rate:,.0f}",
        f"{comparison.reference_rate:,.0f}",
        f"{comparison.noise:.1%}",
        str(len(comparison.rates)),
    )


def _percentiles(found: Percentiles) -> tuple[str, ...]:
    tail = (_milliseconds(found.p999_seconds),) if isinstance(found, TailPercentiles) else ()
    return (_milliseconds(found.p50_seconds), _milliseconds(found.p99_seconds), *tail)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"
