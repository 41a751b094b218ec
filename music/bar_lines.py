"""Bars of a piece in ticks, counted as callers count them: the pickup is bar 0, the first whole bar is bar 1."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, pairwise
from operator import attrgetter
from typing import Final, NamedTuple

from music.score import Meter, MeterChange


class _Stretch(NamedTuple):
    """Bars of one meter, one after another."""

    start: int
    """The first tick of its first bar."""
    first_bar: int
    meter: Meter | None
    bar_ticks: int
    """Length of its bars; the last one may be cut short."""


_START: Final = attrgetter("start")
_FIRST_BAR: Final = attrgetter("first_bar")


@dataclass(frozen=True, slots=True)
class BarLines:
    """Where the bars of a piece begin. A change of the meter begins a bar, and so may cut the one before it short."""

    meter: Meter | None = field(default_factory=Meter)
    """At the start. None if it is unknown: bars are those of 4/4 then."""
    pickup_ticks: int = 0
    """Length of the incomplete first bar; 0 for none."""
    changes: tuple[MeterChange, ...] = ()
    """Later meters, with ascending ticks above `pickup_ticks`."""
    _stretches: tuple[_Stretch, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        stretches = [_Stretch(self.pickup_ticks, 1, self.meter, (self.meter or Meter()).bar_ticks)]
        for tick, meter in self.changes:
            last = stretches[-1]
            bars = -(-(tick - last.start) // last.bar_ticks)
            stretches.append(_Stretch(tick, last.first_bar + bars, meter, meter.bar_ticks))
        object.__setattr__(self, "_stretches", tuple(stretches))

    @property
    def first_bar(self) -> int:
        """0 if there is a pickup, else 1."""
        return 0 if self.pickup_ticks else 1

    @property
    def last_bar_ticks(self) -> int:
        """Length of a bar of the last meter."""
        return self._stretches[-1].bar_ticks

    def start(self, bar: int) -> int:
        """The first tick of a bar."""
        if bar == 0:
            return 0
        index = max(bisect_right(self._stretches, bar, key=_FIRST_BAR) - 1, 0)
        stretch = self._stretches[index]
        return stretch.start + (bar - stretch.first_bar) * stretch.bar_ticks

    def bar_at(self, tick: int) -> int:
        """The bar that a tick is in."""
        if tick < self.pickup_ticks:
            return 0
        stretch = self._stretch_at(tick)
        return stretch.first_bar + (tick - stretch.start) // stretch.bar_ticks

    def meter_at(self, tick: int) -> Meter | None:
        """The meter of the bar that a tick is in; None if it is unknown. A pickup has that of the bar after it."""
        return self._stretch_at(tick).meter

    def last_bar(self, length_ticks: int) -> int:
        """The last bar of a piece of this length, complete or not."""
        return self.bar_at(max(length_ticks - 1, 0))

    def complete(self, length_ticks: int) -> int:
        """The length at the first bar line from `length_ticks` on."""
        return self.start(self.last_bar(length_ticks) + 1) if length_ticks else 0

    def bars_from(self, bar: int) -> Iterator[int]:
        """The first tick of a bar and of each bar after it, without an end."""
        return map(self.start, count(bar))

    def beats_from(self, bar: int) -> Iterator[int]:
        """The first tick of each beat (`Meter.beat_ticks`) from a bar on, without an end.

        Beats are counted from the bar line, those of a pickup back from its end; so the first beat of a pickup and the
        last one of a bar that is cut short may be shorter.
        """
        for start, end in pairwise(self.bars_from(bar)):
            beat_ticks = (self.meter_at(start) or Meter()).beat_ticks
            first = end % beat_ticks if end == self.pickup_ticks else 0
            if first:
                yield start
            yield from range(start + first, end, beat_ticks)

    def single_stretch(self, start: int, end: int) -> "BarLines | None":
        """The bars of a piece that has one meter throughout: that which holds from `start` to the tick before `end`.

        Its bar lines between these ticks are the same. None if the meter changes between them.
        """
        stretch = self._stretch_at(start)
        if stretch != self._stretch_at(end - 1):
            return None
        return BarLines(stretch.meter, stretch.start % stretch.bar_ticks)

    def cut(self, tick: int) -> "BarLines":
        """The bars of the part of the piece that begins at a tick."""
        if tick == 0:
            return self
        meter = self.meter_at(tick)
        pickup = 0 if meter is None else self.complete(tick) - tick
        return BarLines(meter, pickup, tuple(MeterChange(at - tick, to) for at, to in self.changes if at > tick))

    def _stretch_at(self, tick: int) -> _Stretch:
        return self._stretches[max(bisect_right(self._stretches, tick, key=_START) - 1, 0)]
