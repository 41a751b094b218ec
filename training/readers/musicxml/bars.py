"""Lengths of the bars of a MusicXML score."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

_ROUNDING: Final = 1
"""Tolerance in quarters: durations of one part may overfill a bar that another part fills exactly."""


@dataclass(slots=True)
class BarExtent:
    """Extent of one part's elements in a bar, in quarters."""

    notes: Fraction = Fraction()
    rests: Fraction = Fraction()
    gaps: Fraction = Fraction()
    """Extent including `forward` elements."""
    full: Fraction | None = None
    """Length by the meter; None without a meter."""
    implicit: bool = False
    """Whether the bar is unnumbered: a pickup, or part of a divided bar."""


def bar_length(extents: Sequence[BarExtent], *, last: bool) -> Fraction:
    """Length of a bar in quarters, from the extents of its parts.

    Notes decide. Rests and skipped time count up to the bar's meter, because programs write the same long rest in any
    bar. Skipped time does not fill bars that are short by intention: the last bar and unnumbered ones. An empty bar
    lasts as long as its meter.
    """
    full = next((extent.full for extent in extents if extent.full is not None), None)
    notes = max(extent.notes for extent in extents)
    others = max(extent.rests for extent in extents)
    if not last and not any(extent.implicit for extent in extents):
        others = max(others, *(extent.gaps for extent in extents))
    if full is None:
        return max(notes, others) or Fraction(4)
    exact = any(extent.full is not None and max(extent.notes, extent.rests) == extent.full for extent in extents)
    if exact and full < notes <= full + _ROUNDING:
        return full
    return max(notes, min(others, full)) or full
