"""A score as written: parts, bars, note heads, repeat signs."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, NamedTuple

from music.errors import InvalidScoreError
from music.score import DEFAULT_VELOCITY
from training.readers.play_order import BarMarks

MAX_PART_BARS: Final = 1_000_000
"""Maximum number of bars of all parts together, repeats included."""

_MAX_DENOMINATOR: Final = 10**6


def limit_denominator(quarters: Fraction) -> Fraction:
    """Limit the denominator of a time to one million. Otherwise the denominators of sums would grow without bound."""
    return quarters.limit_denominator(_MAX_DENOMINATOR) if quarters.denominator > _MAX_DENOMINATOR else quarters


class WrittenNote(NamedTuple):
    """A sounding note head, alone or in a chord."""

    offset: Fraction
    """Quarters from the start of its bar; negative for grace notes before the bar."""
    duration: Fraction
    """Quarters, more than 0."""
    pitch: int
    """Sounding pitch, as a MIDI number; it may lie outside 0 to 127."""
    staff: int = 0
    """Index of the staff in its part; each staff is a voice."""
    ends_tie: bool = False
    """Whether a tie joins it to the note before."""
    starts_tie: bool = False
    """Whether a tie joins it to the next note."""
    velocity: int = DEFAULT_VELOCITY
    grace: bool = False
    """Whether it is written as a grace note, with the time that it is played at."""


class Signatures(NamedTuple):
    """The time signature, key signature and tempo in force in a bar; None for what is not stated."""

    meter: tuple[int, int] | None = None
    key_sharps: int | None = None
    tempo_bpm: float | None = None


@dataclass(slots=True)
class WrittenBar:
    """One bar of one part."""

    notes: list[WrittenNote] = field(default_factory=list)
    note_heads: int = 0
    """Number of note heads in the bar, counted independently of `notes`."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Note heads that do not become `notes`, by reason."""


@dataclass(slots=True)
class WrittenPart:
    """One part. All parts have the same number of bars."""

    name: str
    bars: list[WrittenBar]
    meters: list[tuple[int, int]] = field(default_factory=list)
    """Time signatures in their order; (0, 0) for no meter."""
    keys: list[int | None] = field(default_factory=list)
    """Key signatures in their order, in sharps, as they sound; None for one that has no number of sharps."""
    program: int | None = None
    """General MIDI program, from 0; None if there is none."""


@dataclass(slots=True)
class WrittenScore:
    """A score as it is written."""

    parts: list[WrittenPart]
    lengths: list[Fraction]
    """Quarters of each bar."""
    marks: list[BarMarks]
    """Marks of each bar, from all parts."""
    tempos: list[float] = field(default_factory=list)
    """Quarter notes a minute, in their order."""
    changed: Counter[str] = field(default_factory=Counter)
    other: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    """Note heads that are in no bar of `parts`, by reason."""
    order: list[int] | None = None
    """The order of bars that the source states; None if only `marks` define it."""
    signatures: list[Signatures] = field(default_factory=list)
    """What is in force in each bar; empty if the reader does not state it."""


def require_size(parts: int, bars: int) -> None:
    """Check the number of bars before shorter parts are padded with empty bars.

    Raises:
        InvalidScoreError: all parts together have more than `MAX_PART_BARS`.
    """
    if parts * bars > MAX_PART_BARS:
        raise InvalidScoreError(f"{parts:,} parts of {bars:,} bars, more than {MAX_PART_BARS:,} bars together")


def bar_at(starts: Sequence[Fraction], time: Fraction) -> int:
    """Index of the bar that contains a time; `starts` ascend, and earlier times belong to the first bar."""
    return max(bisect_right(starts, time) - 1, 0)
