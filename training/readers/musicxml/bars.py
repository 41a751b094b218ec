"""How long the bars of a MusicXML score are."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

_ROUNDING: Final = 1
"""Quarters by which a part's rounded or mistaken durations may overfill a bar that another part fills exactly."""


@dataclass(slots=True)
class BarExtent:
    """How far into a bar one part's elements reach, in quarters."""

    notes: Fraction = Fraction()
    rests: Fraction = Fraction()
    gaps: Fraction = Fraction()
    """What `forward` elements skip."""
    full: Fraction | None = None
    """Length by the meter; None where there is none."""
    implicit: bool = False
    """The bar is not counted: a pickup, or the rest of a divided bar."""


def bar_length(extents: Sequence[BarExtent], *, last: bool) -> Fraction:
    """Quarters of a bar, by what its parts hold.

    Notes decide. Rests and skipped time count up to the bar's meter, since programs write one long rest in any bar.
    Skipped time fills no bar that is short by intention: the last one and those that are not counted. A bar with
    nothing in it lasts as long as its meter.
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
