"""The bars of a piece, for notation and piano rolls."""

from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from math import floor
from typing import NamedTuple

from fantasia_client.types import Meter


class _Stretch(NamedTuple):
    """Bars of one time signature, one after another."""

    origin: Fraction
    """Where its first bar starts, or would start if it were complete."""
    first: int
    """Index of its first bar."""
    meter: Meter
    length: Fraction
    """Length of its bars; the last one may be cut short."""


class Bars:
    """The bars of a piece, in quarter notes from its start, by index from 0. A change of the meter begins a bar.

    Args:
        meter: time signature at the start.
        end: end of the piece.
        pickup: length of the first bar if it is incomplete; 0 if it is complete.
        changes: times and later time signatures.

    Raises:
        ValueError: the pickup is not less than a bar, or the changes do not ascend from the pickup on.
    """

    def __init__(
        self,
        meter: Meter,
        end: Fraction,
        *,
        pickup: Fraction = Fraction(),
        changes: Sequence[tuple[Fraction, Meter]] = (),
    ) -> None:
        self.pickup = pickup
        length = _quarters(meter)
        if not 0 <= pickup < length:
            raise ValueError(f"the pickup must be less than a bar of {length} quarter notes, not {pickup}")
        self._stretches = [_Stretch(pickup - length if pickup else Fraction(), 0, meter, length)]
        for time, later in changes:
            last = self._stretches[-1]
            if time <= max(last.origin, pickup):
                raise ValueError(f"changes of the meter must ascend, after the pickup; {time} does not")
            bars = -(-(time - last.origin) // last.length)
            self._stretches.append(_Stretch(time, last.first + int(bars), later, _quarters(later)))
        index = self.bar_of(end)
        self.count = max(index if self.origin(index) == end else index + 1, 1)
        self.end = self.origin(self.count)

    def bar_of(self, time: Fraction) -> int:
        """Index of the bar in which a time lies."""
        stretch = self._stretches[max(bisect_right(self._stretches, time, key=lambda each: each.origin) - 1, 0)]
        return stretch.first + floor((time - stretch.origin) / stretch.length)

    def origin(self, index: int) -> Fraction:
        """Where a bar starts, or would start if it were complete."""
        stretch = self._stretch(index)
        return stretch.origin + (index - stretch.first) * stretch.length

    def span(self, index: int) -> tuple[Fraction, Fraction]:
        """Start and end of what a bar contains."""
        return max(self.origin(index), Fraction(0)), self.origin(index + 1)

    def missing(self, index: int) -> Fraction:
        """What a bar lacks to be complete."""
        start, end = self.span(index)
        return self._stretch(index).length - (end - start)

    def meter(self, index: int) -> Meter:
        """Time signature of a bar."""
        return self._stretch(index).meter

    def is_new_meter(self, index: int) -> bool:
        """Whether a bar has a time signature of its own."""
        return self._stretch(index).first == index

    def beat_of(self, time: Fraction) -> tuple[Fraction, Fraction]:
        """Start and end of the quarter note in which a time lies, counted from the start of its bar."""
        index = self.bar_of(time)
        start = self.origin(index) + floor(time - self.origin(index))
        return start, min(start + 1, self.origin(index + 1))

    def _stretch(self, index: int) -> _Stretch:
        return self._stretches[max(bisect_right(self._stretches, index, key=lambda each: each.first) - 1, 0)]


def _quarters(meter: Meter) -> Fraction:
    return Fraction(4 * meter.numerator, meter.denominator)
