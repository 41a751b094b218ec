"""Notes and scores, in integer ticks: the one vocabulary that corpus, tokenizers and server share."""

from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Final, NamedTuple

from music.errors import InvalidScoreError

TICKS_PER_QUARTER = 480
"""Resolution of every `Score`: divisible by 2^5, 3 and 5, so 32nds, triplets and 12-per-quarter grids are exact."""

MAX_LENGTH_TICKS = 10_000 * 4 * TICKS_PER_QUARTER
"""Longest piece that is read, 10,000 bars of 4/4: a damaged file may claim any length, and a grid fills it."""


def require_length(ticks: float) -> None:
    """Refuse a piece longer than `MAX_LENGTH_TICKS`.

    Raises:
        InvalidScoreError: it is.
    """
    if ticks > MAX_LENGTH_TICKS:
        bars, most = ticks / Meter().bar_ticks, MAX_LENGTH_TICKS // Meter().bar_ticks
        raise InvalidScoreError(f"lasts {bars:,.0f} bars of 4/4, longer than the {most:,} that are read")


class Note(NamedTuple):
    """One sounding note."""

    onset: int
    """Ticks from the start of the score."""
    duration: int
    """Ticks, at least 1."""
    pitch: int
    """MIDI number, 0 to 127; 60 is C4."""
    velocity: int = 80
    """MIDI velocity, 1 to 127."""
    voice: int = 0
    """Index of the part or track, from 0; voices are ordered from the highest to the lowest."""

    @property
    def end(self) -> int:
        """The tick at which the note has stopped."""
        return self.onset + self.duration


IN_ORDER: Final = itemgetter(*map(Note._fields.index, ("onset", "voice", "pitch")))
"""Sorts a score's notes."""


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
        """Length of one bar in ticks."""
        return self.numerator * 4 * TICKS_PER_QUARTER // self.denominator

    def __str__(self) -> str:
        return f"{self.numerator}/{self.denominator}"

    @classmethod
    def parse(cls, text: str) -> "Meter":
        """Read `3/4`.

        Raises:
            InvalidScoreError: the text is not two integers with a slash, or out of range.
        """
        try:
            numerator, denominator = map(int, text.split("/"))
        except ValueError as error:
            raise InvalidScoreError(f"a meter is written like 3/4, not {text!r}") from error
        return cls(numerator, denominator)


@dataclass(frozen=True, slots=True)
class Score:
    """A piece: notes sorted by (onset, voice, pitch) and what a performer needs to count them."""

    notes: tuple[Note, ...]
    length_ticks: int
    """Where the piece ends, closing rests included."""
    meter: Meter | None = field(default_factory=Meter)
    """None where the source did not say."""
    pickup_ticks: int = 0
    """Length of the incomplete first bar; 0 when the piece begins on a downbeat."""
    tempo_bpm: float = 100.0
    """Quarter notes a minute."""
    key_sharps: int | None = None
    """Key signature: sharps positive, flats negative; None where unknown."""
    program: int = 0
    """General MIDI program, 0 to 127, of every voice."""

    @property
    def voices(self) -> int:
        """Number of voices: one more than the highest index used."""
        return 1 + max((note.voice for note in self.notes), default=-1)

    @property
    def duration_seconds(self) -> float:
        """Playing time at `tempo_bpm`."""
        return self.length_ticks / TICKS_PER_QUARTER * 60.0 / self.tempo_bpm

    def within(self, length_ticks: int) -> "Score":
        """The first `length_ticks` of the piece: what rings past them ends there, what begins later is left out.

        A last note that rings past the end of a shorter piece makes it longer.
        """
        last = max((note.onset + note.duration for note in self.notes), default=0)
        if last <= self.length_ticks <= length_ticks:
            return self
        notes = tuple(
            note._replace(duration=min(note.duration, length_ticks - note.onset))
            for note in self.notes
            if note.onset < length_ticks
        )
        ends = [self.length_ticks, *(note.end for note in notes)]
        return replace(self, notes=notes, length_ticks=min(max(ends), length_ticks))

    def transposed(self, semitones: int) -> "Score":
        """The same piece, `semitones` higher; the key signature follows by fifths, kept within -6 to 6.

        Raises:
            InvalidScoreError: a pitch would leave 0 to 127.
        """
        notes = tuple(note._replace(pitch=note.pitch + semitones) for note in self.notes)
        if any(not 0 <= note.pitch <= 127 for note in notes):
            raise InvalidScoreError(f"transposing by {semitones} semitones leaves MIDI pitches 0 to 127")
        key = None if self.key_sharps is None else (self.key_sharps + 7 * semitones + 6) % 12 - 6
        return replace(self, notes=notes, key_sharps=key)
