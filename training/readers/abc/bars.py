"""Bars of an ABC voice: notes, length, signs."""

from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction

from training.readers.abc.fields import AbcMeter


@dataclass(slots=True)
class Tone:
    """A note inside its bar, in whole notes."""

    offset: Fraction
    length: Fraction
    pitch: int
    """Sounding pitch, as a MIDI number."""
    place: tuple[str, int]
    """Letter and octave as written. A tie joins notes of the same letter, octave and pitch."""
    alteration: int
    """Semitones that an accidental or the key adds to the letter."""
    ends_tie: bool
    """Whether a tie joins it to the note before."""
    tied: bool = False
    """Whether a tie joins it to the next note."""

    @property
    def end(self) -> Fraction:
        """End inside its bar, in whole notes."""
        return self.offset + self.length


@dataclass(slots=True)
class Marks:
    """The signs of a bar that decide the order of playing."""

    repeat_start: bool = False
    ending: frozenset[int] = frozenset()
    """Passes in which the ending that begins here is played; empty if no ending begins."""
    part: str = ""
    """Label of the part that begins."""
    segno: bool = False
    plays: int = 1
    """How often the section that ends here is played, if a repeat sign ends it."""
    double: bool = False
    """Whether a double bar line or a repeat sign ends it."""
    coda: bool = False
    fine: bool = False
    jump: str = ""
    """`dc` or `ds` at a jump to the beginning or to the sign."""

    def merge(self, other: "Marks") -> None:
        """Add the signs of another voice for the same bar."""
        self.repeat_start |= other.repeat_start
        self.ending |= other.ending
        self.part = self.part or other.part
        self.segno |= other.segno
        self.plays = max(self.plays, other.plays)
        self.double |= other.double
        self.coda |= other.coda
        self.fine |= other.fine
        self.jump = self.jump or other.jump


@dataclass(slots=True)
class Bar:
    """Notes and length of a bar."""

    meter: AbcMeter
    tones: list[Tone] = field(default_factory=list)
    length: Fraction = Fraction(0)
    marks: Marks = field(default_factory=Marks)
    note_heads: int = 0
    """Number of written notes, grace notes included."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Notes without a tone, by reason."""
