"""A score as it is written, bar by bar."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, NamedTuple

from music.errors import InvalidScoreError
from training.readers.play_order import BarMarks

DEFAULT_VELOCITY: Final = 80


MAX_PART_BARS: Final = 1_000_000
"""Most bars of all parts together, played out."""

_MOST_DENOMINATOR: Final = 10**6


def bounded(quarters: Fraction) -> Fraction:
    """A time whose denominator stays below a million: sums of odd fractions would grow without end."""
    return quarters.limit_denominator(_MOST_DENOMINATOR) if quarters.denominator > _MOST_DENOMINATOR else quarters


class WrittenNote(NamedTuple):
    """A note head that sounds, alone or with others as a chord."""

    offset: Fraction
    """Quarters from the start of its bar."""
    duration: Fraction
    """Quarters, more than 0."""
    pitch: int
    """Sounding pitch, as a MIDI number; it may lie outside 0 to 127."""
    staff: int = 0
    """Index of the staff in its part: each is a voice of its own."""
    ends_tie: bool = False
    """A tie leads to it: it goes on with the note before."""
    starts_tie: bool = False
    """A tie leads on from it."""
    velocity: int = DEFAULT_VELOCITY


@dataclass(slots=True)
class WrittenBar:
    """One bar of one part."""

    notes: list[WrittenNote] = field(default_factory=list)
    note_heads: int = 0
    """Note heads that the source writes in the bar, counted apart from the reading of `notes`."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Note heads that do not become `notes`, by reason."""


@dataclass(slots=True)
class WrittenPart:
    """One part; `bars` are those of all parts."""

    name: str
    bars: list[WrittenBar]
    meters: list[tuple[int, int]] = field(default_factory=list)
    """Time signatures in their order; (0, 0) where there is no meter."""
    keys: list[int | None] = field(default_factory=list)
    """Key signatures in their order, in sharps, as they sound; None for one that has no number of sharps."""
    program: int | None = None
    """General MIDI program, from 0; None where there is none."""


@dataclass(slots=True)
class WrittenScore:
    """A score as it is written."""

    parts: list[WrittenPart]
    lengths: list[Fraction]
    """Quarters of each bar."""
    marks: list[BarMarks]
    """Of each bar, from all parts."""
    tempos: list[float] = field(default_factory=list)
    """Quarter notes a minute, in their order."""
    changed: Counter[str] = field(default_factory=Counter)
    other: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    """Note heads of the source that stand in no bar of `parts`, by reason."""
    order: list[int] | None = None
    """The order in which the source says that its bars are played; None where only `marks` say so."""


def require_size(parts: int, bars: int) -> None:
    """Refuse more bars than can be held, before empty ones are added to parts that are shorter than others.

    Raises:
        InvalidScoreError: all parts together have more than `MAX_PART_BARS`.
    """
    if parts * bars > MAX_PART_BARS:
        raise InvalidScoreError(f"{parts:,} parts of {bars:,} bars, more than {MAX_PART_BARS:,} bars together")


def bar_at(starts: Sequence[Fraction], time: Fraction) -> int:
    """Index of the bar in which a time lies; `starts` ascend, and times before the first are in it."""
    return max(bisect_right(starts, time) - 1, 0)
