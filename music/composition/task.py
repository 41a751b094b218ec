"""A request for a piece in musical terms: what is given, what is written, and what the written notes must obey."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from music.bar_lines import BarLines
from music.score import Score, ScoreAttributes


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the given piece that is written anew: notes that begin in it are replaced.

    A note begins at the step of the model's grid that is nearest to its onset; so do the ends of a region.
    """

    start_ticks: int
    """First tick, at least 0."""
    end_ticks: int
    """The tick after the last one, above `start_ticks`."""
    voices: frozenset[int] | None = None
    """Voices of the model; None for all."""


@dataclass(frozen=True, slots=True)
class ChordSpan:
    """A chord whose tones the written notes must have while they sound in this span."""

    start_ticks: int
    end_ticks: int
    pitch_classes: frozenset[int]
    """0 (C) to 11."""
    bass: int | None = None
    """Pitch class of the lowest voice, where the model has several voices; None: as the other voices."""
    name: str = ""
    """As the caller wrote it, for error messages."""
    field: str = "constraints.chords"
    """Path of the field that it comes from, for error messages."""


@dataclass(frozen=True, slots=True)
class Constraints:
    """What written notes must obey."""

    pitch_classes: frozenset[int] | None = None
    """Of all notes, given ones included; None: all twelve."""
    pitch_field: str = "constraints.scale"
    """Path of the field that `pitch_classes` comes from."""
    tonic: int | None = None
    """Pitch class of the scale's tonic, for the natural ending; None if there is no scale."""
    chords: tuple[ChordSpan, ...] = ()
    """Ascending, without overlaps."""
    ranges: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """Lowest and highest pitch, by voice of the model."""
    no_rests: bool = False
    """Every voice that is written sounds all the time."""
    no_parallels: bool = False
    """No parallel fifths, octaves and unisons with another voice."""
    natural_ending: bool = False
    """The last chord is a triad in root position, struck together and held for at least a quarter."""


@dataclass(frozen=True, slots=True)
class Controls:
    """What written notes lean towards."""

    density: float = 1.0
    """Factor on the odds that a note begins, above 0."""
    voice_densities: Mapping[int, float] = field(default_factory=dict)
    """The same for single voices, on top of `density`."""


@dataclass(frozen=True, slots=True)
class Length:
    """How long a piece becomes, in ticks from its start, the given part included."""

    max_ticks: int
    """Exact length, or the maximum if `is_open`; a whole number of steps."""
    is_open: bool = False
    """Whether the model decides where the piece ends."""
    min_ticks: int = 0
    """The piece does not end before, if `is_open`."""


@dataclass(frozen=True, slots=True)
class WritingTask:
    """One request: a piece that is partly given and partly written."""

    attributes: ScoreAttributes
    """Of the whole piece as the model sees it: meter (None if it does not know it), pickup, tempo, program.

    If the meter of the given piece changes, these are the meter and the bar lines where notes are written.
    """
    length: Length
    """Of the whole piece."""
    given: Score | None = None
    """The given piece, its voices numbered as the model's; None if nothing is given."""
    regions: tuple[Region, ...] = ()
    """What of it is written anew."""
    constraints: Constraints = field(default_factory=Constraints)
    """What written notes must obey."""
    controls: Controls = field(default_factory=Controls)
    """What written notes lean towards."""
    bar_lines: BarLines | None = None
    """By which callers count bars; None if these are the bars that the model sees."""

    def bar_at(self, ticks: int) -> int:
        """The bar of a tick as callers count: the pickup is bar 0, the first whole bar is bar 1."""
        lines = self.bar_lines or BarLines(self.attributes.meter, self.attributes.pickup_ticks)
        return lines.bar_at(ticks)
