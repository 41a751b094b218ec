"""The bars of a piece, found independently of the server: bar by bar from the start."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from bench.fuzz.facts import bar_ticks, beat_ticks

Signature = tuple[int, int]
"""Numerator and denominator of a meter."""


@dataclass(frozen=True, slots=True)
class Bars:
    """Where bars begin. A change of the meter begins a bar."""

    meter: Signature | None
    """At the start; None if it is unknown, and bars are those of 4/4."""
    pickup: int = 0
    changes: tuple[tuple[int, Signature], ...] = ()
    """Tick and meter of each change."""

    @property
    def last_bar_ticks(self) -> int:
        """Length of a bar of the last meter."""
        return bar_ticks(*([self.meter or (4, 4), *(meter for _, meter in self.changes)][-1]))

    def _lines(self) -> Iterator[tuple[int, Signature]]:
        """Start and meter of each whole bar, without an end."""
        tick, meter, later = self.pickup, self.meter or (4, 4), list(self.changes)
        while True:
            yield tick, meter
            tick += bar_ticks(*meter)
            if later and later[0][0] <= tick:
                tick, meter = later.pop(0)

    def start(self, bar: int) -> int:
        """The first tick of a bar; bar 0 is the pickup."""
        return 0 if bar == 0 else next(islice(self._lines(), bar - 1, None))[0]

    def line_from(self, tick: int) -> int:
        """The first bar line at or after a tick."""
        return next(line for line, _ in self._lines() if line >= tick) if tick > 0 else 0

    def meter_at(self, tick: int) -> Signature | None:
        """The meter that holds at a tick."""
        return [self.meter, *(meter for change, meter in self.changes if change <= tick)][-1]

    def units(self, start: int, *, beats: bool) -> Iterator[int]:
        """The bars or beats from a bar line on, without an end; a pickup is the end of a bar."""
        if start < self.pickup:
            beat = beat_ticks(*(self.meter or (4, 4)))
            yield from (
                tick for tick in range(self.pickup) if tick == 0 or (beats and (self.pickup - tick) % beat == 0)
            )
        lines = self._lines()
        tick, meter = next(lines)
        for after, its_meter in lines:
            if tick >= start:
                yield from range(tick, after, beat_ticks(*meter)) if beats else (tick,)
            tick, meter = after, its_meter
