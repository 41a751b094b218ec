"""The goals of the benchmark, and whether a record reaches them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bench.record import BUSY_LOAD, OVERLOAD, BenchmarkRecord

WIDTH: Final = 64
"""Rows of a run, or clients, for which most goals hold."""
_MIN_INT8_RATIO: Final = {1: 4.0, WIDTH: 3.0}


@dataclass(frozen=True, slots=True)
class Goal:
    """A measured value beside the limit that it should reach (`minimum`) or not exceed."""

    name: str
    value: float
    limit: float
    minimum: bool = True
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether the value is on the right side of the limit, which counts as met itself."""
        return self.value >= self.limit if self.minimum else self.value <= self.limit

    def cells(self) -> tuple[str, str, str, str]:
        """What, measured, goal, met: for a table."""
        digits = 1 if self.unit else 3 if self.limit < 2 else 2
        bound = "at least" if self.minimum else "at most"
        return (
            self.name,
            f"{self.value:.{digits}f}{self.unit}",
            f"{bound} {self.limit:g}{self.unit}",
            "met" if self.met else "missed",
        )


def goals(record: BenchmarkRecord) -> Iterator[Goal]:
    """Every goal that the record has a value for."""
    for engine in record.engine:
        if engine.width == WIDTH:
            yield Goal(f"engine / bare loop, width {WIDTH}", engine.comparison.ratio, 0.95)
    for service in record.service:
        if service.clients == WIDTH and service.piece_tokens == record.piece_tokens:
            yield Goal(f"service / bare loop, {WIDTH} clients", service.comparison.ratio, 0.90)
    peers = [peer for peer in record.peers if peer.clients == WIDTH]
    if peers:
        best = min(peers, key=lambda peer: peer.comparison.ratio)
        yield Goal(f"service / fastest peer ({best.name}), {WIDTH} clients", best.comparison.ratio, 8.0)
    for row in record.precisions:
        if row.width in _MIN_INT8_RATIO:
            yield Goal(f"int8 / float32, width {row.width}", row.comparison.ratio, _MIN_INT8_RATIO[row.width])
    yield from _load_goals(record)
    if record.fairness is not None:
        name = f"first token of a short piece beside {record.fairness.long_pieces} long ones / idle"
        yield Goal(name, record.fairness.comparison.ratio, 2.0, minimum=False)
    if record.neighbours is not None:
        name = f"capacity beside {record.neighbours.processes} computing processes / alone, in fair shares"
        yield Goal(name, record.neighbours.comparison.ratio / record.neighbours.fair_share, 0.8)
    if record.prefill is not None:
        name = f"primer of {record.prefill.tokens:,} tokens: prefill / stepping"
        yield Goal(name, record.prefill.comparison.ratio, 10.0)
        yield Goal("longest gap of concurrent pieces meanwhile, in runs", record.prefill.stall, 2.0, minimum=False)


def _load_goals(record: BenchmarkRecord) -> Iterator[Goal]:
    if record.open_load is None:
        return
    rows = {row.load_factor: row for row in record.open_load.rows}
    idle, busy, over = (rows.get(load) for load in (0.0, BUSY_LOAD, OVERLOAD))
    if idle is not None:
        first = idle.first_token.p99_seconds
        yield Goal("first token p99, idle", first * 1e3, 10.0, minimum=False, unit=" ms")
        if busy is not None:
            ratio = busy.first_token.p99_seconds / first
            yield Goal(f"first token p99 at {BUSY_LOAD:.0%} load / idle", ratio, 3.0, minimum=False)
    yield Goal(f"goodput at {OVERLOAD:.0%} load / capacity", record.open_load.goodput.ratio, 0.95)
    if over is not None and over.rejection is not None:
        rejection = over.rejection.p99_seconds * 1e3
        yield Goal(f"rejection p99 at {OVERLOAD:.0%} load", rejection, 5.0, minimum=False, unit=" ms")
