"""Notes and scores in integer ticks, as the corpus, the tokenizers and the server share them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from operator import itemgetter
from typing import Final, NamedTuple

from music.errors import InvalidScoreError

TICKS_PER_QUARTER = 480
"""Resolution of every `Score`: divisible by 2^5, 3 and 5, so that 32nds, triplets and quintuplets are exact."""

MAX_LENGTH_TICKS = 10_000 * 4 * TICKS_PER_QUARTER
"""Maximum length of a piece: 10,000 bars of 4/4. A damaged file may claim any length, and a grid would fill it."""


def check_length(ticks: float, max_ticks: int = MAX_LENGTH_TICKS) -> None:
    """Check that a piece is not longer than `max_ticks`.

    Raises:
        InvalidScoreError: it is longer.
    """
    if ticks > max_ticks:
        bars, most = math.ceil(ticks / Meter().bar_ticks), max_ticks / Meter().bar_ticks
        raise InvalidScoreError(f"lasts {bars:,} bars of 4/4, more than the maximum of {most:,.10g}")


DEFAULT_VELOCITY: Final = 80
"""MIDI velocity of a note whose dynamics are unknown."""


class Note(NamedTuple):
    """One sounding note."""

    onset: int
    """Ticks from the start of the score."""
    duration: int
    """Ticks, at least 1."""
    pitch: int
    """MIDI number, 0 to 127; 60 is C4."""
    velocity: int = DEFAULT_VELOCITY
    """MIDI velocity, 1 to 127."""
    voice: int = 0
    """Index of the part or track, from 0; voices are ordered from the highest to the lowest."""

    @property
    def end(self) -> int:
        """The first tick after the note."""
        return self.onset + self.duration


def velocities_differ(notes: Sequence[Note]) -> bool:
    """Whether not all notes have the same velocity. If all have, a file without marks does not tell its dynamics."""
    return any(note.velocity != notes[0].velocity for note in notes)


_VOICE: Final = itemgetter(Note._fields.index("voice"))
NOTE_ORDER: Final = itemgetter(*map(Note._fields.index, ("onset", "voice", "pitch")))
"""Sort key of a score's notes."""


@dataclass(frozen=True, slots=True, order=True)
class Meter:
    """A time signature. `denominator` is a power of two: 4 means a quarter note."""

    numerator: int = 4
    denominator: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.numerator <= 64:
            raise InvalidScoreError(f"meter numerator must be 1 to 64, not {self.numerator}")
        if self.denominator not in (1, 2, 4, 8, 16, 32):
            raise InvalidScoreError(f"meter denominator must be a power of two up to 32, not {self.denominator}")

    @property
    def bar_ticks(self) -> int:
        """Length of a bar in ticks."""
        return self.numerator * 4 * TICKS_PER_QUARTER // self.denominator

    @property
    def beat_ticks(self) -> int:
        """Length of a beat in ticks: three units (1/denominator) in a compound meter, one unit in any other.

        Compound meters have 6, 9, 12 and so on units in a bar; 3/8 and 3/4 are not compound.
        """
        unit = 4 * TICKS_PER_QUARTER // self.denominator
        return 3 * unit if self.numerator % 3 == 0 and self.numerator > 3 else unit

    def __str__(self) -> str:
        return f"{self.numerator}/{self.denominator}"

    @classmethod
    def parse(cls, text: str) -> "Meter":
        """The meter that a text such as `3/4` names.

        Raises:
            InvalidScoreError: the text is not two integers with a slash, or a number is out of range.
        """
        try:
            numerator, denominator = map(int, text.split("/"))
        except ValueError as error:
            raise InvalidScoreError(f"a meter is written like 3/4, not {text!r}") from error
        return cls(numerator, denominator)


class TempoChange(NamedTuple):
    """A tempo that holds from a tick on."""

    tick: int
    """Ticks from the start of the score, at least 1."""
    bpm: float
    """Quarter notes per minute."""


class MeterChange(NamedTuple):
    """A meter that holds from a tick on; it begins a bar there."""

    tick: int
    """Ticks from the start of the score, at least 1."""
    meter: Meter


@dataclass(frozen=True, slots=True)
class Score:
    """A piece: notes sorted by (onset, voice, pitch), with meter, tempo, key and programs."""

    notes: tuple[Note, ...]
    length_ticks: int
    """Length of the piece, rests at its end included."""
    meter: Meter | None = field(default_factory=Meter)
    """From the start on; None if unknown."""
    pickup_ticks: int = 0
    """Length of the incomplete first bar; 0 if the piece starts on a downbeat."""
    tempo_bpm: float = 100.0
    """Quarter notes per minute, from the start on."""
    key_sharps: int | None = None
    """Key signature: positive for sharps, negative for flats; None if unknown."""
    program: int = 0
    """General MIDI program, 0 to 127, of every voice that `programs` does not name."""
    tempo_changes: tuple[TempoChange, ...] = ()
    """Later tempos, with ascending ticks."""
    programs: tuple[int, ...] = ()
    """Program of each voice, from voice 0 on; empty if all voices have `program`."""
    meter_changes: tuple[MeterChange, ...] = ()
    """Later meters, with ascending ticks above `pickup_ticks`."""
    has_dynamics: bool = True
    """Whether the velocities are the dynamics of the piece; if not, the dynamics are unknown."""

    @property
    def single_meter(self) -> Meter | None:
        """The meter if it is known and never changes, else None."""
        return None if self.meter_changes else self.meter

    @property
    def voices(self) -> int:
        """Number of voices: the highest voice index plus one."""
        return 1 + max(map(_VOICE, self.notes), default=-1)

    @property
    def duration_seconds(self) -> float:
        """Playing time at `tempo_bpm` and the tempos of `tempo_changes`."""
        if not self.tempo_changes:
            return self.length_ticks / TICKS_PER_QUARTER * 60.0 / self.tempo_bpm
        tempos = (TempoChange(0, self.tempo_bpm), *self._changes_before(self.length_ticks))
        stretches = pairwise((*tempos, TempoChange(self.length_ticks, self.tempo_bpm)))
        return math.fsum((after.tick - tempo.tick) / tempo.bpm for tempo, after in stretches) * 60.0 / TICKS_PER_QUARTER

    def program_of(self, voice: int) -> int:
        """General MIDI program of a voice."""
        return self.programs[voice] if voice < len(self.programs) else self.program

    def truncated(self, length_ticks: int) -> "Score":
        """The piece, at most `length_ticks` long: notes that last longer are shortened, later notes are left out.

        A piece that is shorter keeps its length, unless a note ends after it: then the last note decides the length.
        """
        last = max((note.onset + note.duration for note in self.notes), default=0)
        if last <= self.length_ticks <= length_ticks:
            return self
        notes = tuple(
            note._replace(duration=min(note.duration, length_ticks - note.onset))
            for note in self.notes
            if note.onset < length_ticks
        )
        length = min(max([self.length_ticks, *(note.end for note in notes)]), length_ticks)
        meter_changes = tuple(change for change in self.meter_changes if change.tick < length)
        tempo_changes = self._changes_before(length)
        return replace(self, notes=notes, length_ticks=length, tempo_changes=tempo_changes, meter_changes=meter_changes)

    def transposed(self, semitones: int) -> "Score":
        """The piece, `semitones` higher, with the key signature moved along, in the range -6 to 5.

        Raises:
            InvalidScoreError: a pitch would be outside 0 to 127.
        """
        notes = tuple(note._replace(pitch=note.pitch + semitones) for note in self.notes)
        if any(not 0 <= note.pitch <= 127 for note in notes):
            raise InvalidScoreError(f"transposing by {semitones} semitones gives pitches outside 0 to 127")
        key = None if self.key_sharps is None else (self.key_sharps + 7 * semitones + 6) % 12 - 6
        return replace(self, notes=notes, key_sharps=key)

    def _changes_before(self, tick: int) -> tuple[TempoChange, ...]:
        return tuple(change for change in self.tempo_changes if change.tick < tick)


@dataclass(frozen=True, slots=True)
class ScoreAttributes:
    """Attributes of a score that are not notes; see `Score`."""

    meter: Meter | None = field(default_factory=Meter)
    """None if unknown."""
    pickup_ticks: int = 0
    tempo_bpm: float = 100.0
    """Quarter notes per minute."""
    key_sharps: int | None = None
    program: int = 0
    """General MIDI program."""
    has_dynamics: bool = True
