"""What we want to reach, and whether a report does."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bench.report import Report
from bench.rows import LoadRow


@dataclass(frozen=True, slots=True)
class Goal:
    """A number to reach, or not to exceed."""

    limit: float
    least: bool
    """Whether to reach it; else not to exceed it."""
    unit: str = ""

    def met(self, value: float) -> bool:
        """Whether the value does."""
        return value >= self.limit if self.least else value <= self.limit

    def told(self, value: float) -> str:
        """The value in the goal's unit."""
        digits = 3 if not self.unit and self.limit < 2 else 2 if not self.unit else 1
        return f"{value:.{digits}f}{self.unit}"

    @property
    def words(self) -> str:
        """The goal itself."""
        return f"at {'least' if self.least else 'most'} {self.limit:g}{self.unit}"

    def cell(self, value: float) -> str:
        """The goal and whether it is met, for a column."""
        return f"{self.limit:g}{self.unit} {'met' if self.met(value) else 'missed'}"


ENGINE: Final = {64: Goal(0.95, least=True)}
"""Ratio to reach, by width."""
SERVICE: Final = {64: Goal(0.90, least=True)}
"""The same by number of clients."""
PEERS: Final = {64: Goal(8.0, least=True)}
"""Times as fast as the best of them, by number of clients."""
INT8: Final = {1: Goal(4.0, least=True), 64: Goal(3.0, least=True)}
"""Times as fast as float32, by width."""
SAMPLING: Final = {64: Goal(10.0, least=False, unit=" %")}
"""Share of a step, by width."""
IDLE_FIRST_NOTE: Final = Goal(10.0, least=False, unit=" ms")
BUSY_FIRST_NOTE: Final = Goal(3.0, least=False)
"""p99 at `BUSY` by p99 when idle."""
BUSY: Final = 0.8
OVERLOAD: Final = 3.0
GOODPUT: Final = Goal(0.95, least=True)
REJECTION: Final = Goal(5.0, least=False, unit=" ms")
FAIRNESS: Final = Goal(2.0, least=False)
MEMORY: Final = Goal(1.0, least=False, unit=" %")
PREFILL: Final = Goal(10.0, least=True)
STALL: Final = Goal(2.0, least=False)
"""Longest time between two runs' ends while a primer comes in, in runs: one run is no stall, one more is a stall of one
chunk."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One goal beside what was found."""

    what: str
    value: float
    goal: Goal


def verdicts(report: Report) -> list[Verdict]:
    """Every goal that the report says something about."""
    return [*_rates(report), *_latencies(report), *_rest(report)]


def _rates(report: Report) -> Iterator[Verdict]:
    for row in report.engine:
        if goal := ENGINE.get(row.width):
            yield Verdict(f"engine / bare loop, width {row.width}", row.comparison.ratio, goal)
    for served in report.service:
        if served.piece_tokens == report.piece_tokens and (goal := SERVICE.get(served.clients)):
            yield Verdict(f"service / bare loop, {served.clients} clients", served.comparison.ratio, goal)
    if report.peers:
        best = min(report.peers, key=lambda peer: peer.comparison.ratio)
        if goal := PEERS.get(best.clients):
            yield Verdict(
                f"service / the best of what others offer ({best.name}), {best.clients} clients",
                best.comparison.ratio,
                goal,
            )
    for precise in report.precisions:
        if not precise.network and (goal := INT8.get(precise.width)):
            yield Verdict(f"int8 / float32, width {precise.width}", precise.comparison.ratio, goal)
    for sampled in report.sampling:
        if (goal := SAMPLING.get(sampled.width)) and sampled.precision == report.precision:
            yield Verdict(
                f"sampling in a step, {sampled.precision}, width {sampled.width}", sampled.share * 100.0, goal
            )


def _latencies(report: Report) -> Iterator[Verdict]:
    if report.latency is None:
        return
    rows = {row.load: row for row in report.latency.rows}
    idle, busy, over = (rows.get(load) for load in (0.0, BUSY, OVERLOAD))
    if idle is not None:
        first = idle.first_note.p99_seconds
        yield Verdict("first note p99, idle", first * 1e3, IDLE_FIRST_NOTE)
        if busy is not None:
            ratio = busy.first_note.p99_seconds / first
            yield Verdict(f"first note p99 at {BUSY:.0%} load / idle", ratio, BUSY_FIRST_NOTE)
    yield Verdict(f"goodput at {OVERLOAD:.0%} load / capacity", report.latency.goodput.ratio, GOODPUT)
    if over is not None and over.rejection is not None:
        yield Verdict(f"rejection p99 at {OVERLOAD:.0%} load", over.rejection.p99_seconds * 1e3, REJECTION)


def _rest(report: Report) -> Iterator[Verdict]:
    if fairness := report.fairness:
        yield Verdict(
            f"first note of a short piece behind {fairness.others} of the greatest length / idle",
            fairness.ratio,
            FAIRNESS,
        )
    if report.growth is not None:
        memory = report.growth.memory
        yield Verdict(
            f"memory gained in the second half of {memory.tokens[-1]:,} tokens", memory.growth * 100.0, MEMORY
        )
    if prefill := report.prefill:
        yield Verdict(f"a primer of {prefill.tokens:,} tokens at once / stepping", prefill.comparison.ratio, PREFILL)
        yield Verdict("longest gap in others' streams while it comes in, in runs", prefill.stall, STALL)


def goal_of_load(row: LoadRow, rows: tuple[LoadRow, ...]) -> str:
    """The goal that a row of loads is held to, for its column."""
    idle = next((other for other in rows if other.load == 0.0), None)
    if row.load == 0.0:
        return IDLE_FIRST_NOTE.cell(row.first_note.p99_seconds * 1e3)
    if row.load == BUSY and idle is not None:
        return f"{BUSY_FIRST_NOTE.cell(row.first_note.p99_seconds / idle.first_note.p99_seconds)} (x idle)"
    return ""
