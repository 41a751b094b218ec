"""What stands between two bar lines of an ABC voice."""

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
    """MIDI number as it sounds."""
    place: tuple[str, int]
    """Letter and octave as written: a tie joins notes of one place and one pitch."""
    alteration: int
    """Semitones that an accidental or the key adds to the letter."""
    ends_tie: bool
    """Whether a tie leads to it."""
    tied: bool = False
    """Whether a tie leads on from it."""

    @property
    def end(self) -> Fraction:
        """Where it ends in its bar."""
        return self.offset + self.length


@dataclass(slots=True)
class Marks:
    """What a bar says about the order in which bars are played."""

    repeat_start: bool = False
    ending: frozenset[int] = frozenset()
    """Passes in which the bar and those after it are played; empty where no ending begins."""
    part: str = ""
    """Label of the part that begins."""
    segno: bool = False
    plays: int = 1
    """How often the section that ends with this bar is played, where a repeat sign ends it."""
    double: bool = False
    """Whether more than a single bar line ends it."""
    coda: bool = False
    fine: bool = False
    jump: str = ""
    """`dc` or `ds` at a jump back to the beginning or the sign."""

    def merge(self, other: "Marks") -> None:
        """Add what another voice says of the same bar."""
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
    """Notes that are written in it, grace notes included."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Notes that no tone stands for, by reason."""
