"""The state of one ABC voice while it is read: key, accidentals, unit length, tuplets, bars."""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from music.errors import InvalidScoreError
from training.readers.abc.bars import Bar, Marks, Tone
from training.readers.abc.fields import AbcMeter
from training.readers.abc.key import Key, Transposition

_NATURAL: Final = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_MIDDLE_C: Final = 60
_MAX_BARS: Final = 10_000


@dataclass(frozen=True, slots=True)
class AbcNote:
    """A note as written."""

    letter: str
    """`A` to `G`."""
    octave: int
    """0 from middle C upwards."""
    alteration: int | None
    """Semitones; None without an accidental."""
    length: Fraction
    """In unit note lengths."""
    tied: bool = False


@dataclass(slots=True)
class Voice:
    """State of a voice."""

    key: Key
    meter: AbcMeter
    unit: Fraction
    transposition: Transposition = field(default_factory=Transposition)
    midi_transpose: int = 0
    percussion: bool = False
    name: str = ""
    propagate: str = "pitch"
    """Scope of an accidental in its bar: `not`, `octave` or `pitch` (ABC 2.1, section 11.3)."""
    bars: list[Bar] = field(default_factory=list)
    keys: list[Key] = field(init=False)
    """All keys in order; the first is the key of the first note."""
    _bar: Bar | None = None
    _position: Fraction = Fraction(0)
    _accidentals: dict[tuple[str, int | None], int] = field(default_factory=dict)
    _ties: dict[tuple[str, int], tuple[Tone, Fraction]] = field(default_factory=dict)
    """Open ties: the note and the start of its bar, by letter and octave."""
    _tied_endings: list[Tone] = field(default_factory=list)
    """Open ties at the first ending."""
    _bar_start: Fraction = Fraction(0)
    """Length of all bars before this one."""
    _last: tuple[list[Tone], Fraction, Fraction] | None = None
    """Tones, start and length of the previous note, chord or rest."""
    _broken: Fraction = Fraction(1)
    _tuplet: tuple[Fraction, int] = (Fraction(1), 0)
    """Factor, and the number of notes that it still applies to."""

    def __post_init__(self) -> None:
        self.keys = [self.key]

    @property
    def bar(self) -> Bar:
        """The current bar."""
        if self._bar is None:
            self._bar = Bar(self.meter)
        return self._bar

    def add_notes(self, notes: list[AbcNote], factor: Fraction, tied: bool) -> None:
        """Add a note or a chord; time advances by the length of its first note."""
        scale = self._scale() * factor * self.unit
        tones = []
        for note in notes:
            length = note.length * scale
            if length <= 0:
                self.bar.left_out["no_length"] += 1
                continue
            tones.append(self._tone(note, length))
            if tied or note.tied:
                self._tie(tones[-1])
        self._advance(tones, notes[0].length * scale)

    def rest(self, length: Fraction) -> None:
        """Add a rest, in unit note lengths."""
        self._advance([], length * self._scale() * self.unit)

    def rest_bars(self, count: int) -> None:
        """Add rests of whole bars."""
        if count > _MAX_BARS:
            raise InvalidScoreError(f"a rest of {count} bars")
        for place in range(count):
            self._advance([], self.meter.bar)
            if place + 1 < count:
                self.end_bar()

    def grace(self, count: int) -> None:
        """Count grace notes as left out."""
        self.bar.left_out["grace"] += count

    def tie(self) -> None:
        """Tie the previous note or chord to the next one."""
        for tone in self._last[0] if self._last is not None else ():
            self._tie(tone)

    def break_rhythm(self, signs: str) -> None:
        """Lengthen the previous note and shorten the next, or the reverse for `<` (ABC 2.1, section 4.4)."""
        if self._last is None:
            raise InvalidScoreError("a broken rhythm without a note before it")
        short = Fraction(1, 2 ** min(len(signs), 8))
        factor, self._broken = (2 - short, short) if signs[0] == ">" else (short, 2 - short)
        tones, begin, length = self._last
        for tone in tones:
            tone.length *= factor
        self._position = begin + length * factor
        self.bar.length = max([self._position, *(tone.end for tone in (*self.bar.tones, *tones))])

    def begin_tuplet(self, notes: int, time_of: int | None, count: int | None) -> None:
        """Begin a tuplet of `count` notes (ABC 2.1, section 4.13)."""
        other = 3 if self.meter.compound else 2
        usual = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}.get(notes, other)
        if notes < 2 or time_of == 0:
            raise InvalidScoreError(f"a tuplet of {notes} notes in the time of {time_of}")
        self._tuplet = (Fraction(time_of or usual, notes), count or notes)

    def overlay(self) -> None:
        """Return to the start of the bar, for an overlay."""
        self._position, self._last, self._accidentals = Fraction(0), None, {}

    def change(self, *, meter: AbcMeter | None = None, key: Key | None = None) -> None:
        """Change the meter or the key."""
        if key is not None:
            self.key = key
            if not self.bars and not self.bar.length:
                self.keys.clear()
            self.keys.append(key)
        if meter is not None:
            self.meter = meter
            if not self.bar.length:
                self.bar.meter = meter

    def begin_part(self, label: str) -> None:
        """Begin a part in a new bar."""
        self.end_bar()
        self.bar.marks.part = label

    def begin_ending(self, passes: set[int]) -> None:
        """Begin an ending in a new bar. A tie into the first ending also leads into the others."""
        self.end_bar()
        self.bar.marks.ending |= passes
        if 1 in passes:
            self._tied_endings = [tone for tone, begun in self._ties.values() if begun + tone.end == self._bar_start]
        else:
            self._ties.update((tone.place, (tone, self._bar_start - tone.end)) for tone in self._tied_endings)

    def end_bar(self) -> None:
        """Begin a new bar unless the current one is empty."""
        self._accidentals.clear()
        if self.bar.length:
            self._bar_start += self.bar.length
            self.bars.append(self.bar)
            if len(self.bars) > _MAX_BARS:
                raise InvalidScoreError(f"more than {_MAX_BARS} bars")
            self._bar = Bar(self.meter)
            self._position, self._last = Fraction(0), None

    def end(self) -> None:
        """Close the last bar; later marks and grace notes belong to it."""
        self.end_bar()
        if self.bars and self._bar is not None:
            self.bars[-1].left_out.update(self._bar.left_out)
            self.bars[-1].note_heads += self._bar.note_heads
        self._bar = None

    @property
    def previous_marks(self) -> Marks:
        """Marks of the bar that a bar line here ends; a dummy if there is none."""
        if self.bar.length:
            return self.bar.marks
        return self.bars[-1].marks if self.bars else Marks()

    def _scale(self) -> Fraction:
        factor, left = self._tuplet
        scale, self._broken = self._broken, Fraction(1)
        if left:
            self._tuplet = (factor, left - 1)
            scale *= factor
        return scale

    def _advance(self, tones: list[Tone], length: Fraction) -> None:
        self._last = (tones, self._position, length)
        self._position += length
        self.bar.length = max([self.bar.length, self._position, *(tone.end for tone in tones)])

    def _tie(self, tone: Tone) -> None:
        tone.tied = True
        self._ties[tone.place] = (tone, self._bar_start)

    def _tone(self, note: AbcNote, length: Fraction) -> Tone:
        """The note at this place; added to the bar unless it is left out."""
        place = (note.letter, note.octave)
        before, begun = self._ties.pop(place, (None, Fraction(0)))
        if before is not None and begun + before.end != self._bar_start + self._position:
            before = None
        reach = (note.letter, note.octave if self.propagate == "octave" else None)
        if note.alteration is not None:
            alteration = note.alteration
            if self.propagate != "not":
                self._accidentals[reach] = alteration
        elif before is not None:
            alteration = before.alteration  # a tie carries its accidental over the bar line
        else:
            alteration = self._accidentals.get(reach, self.key.alterations.get(note.letter, 0))
        pitch = _MIDDLE_C + 12 * note.octave + _NATURAL[note.letter] + alteration
        pitch += self.transposition.semitones + self.midi_transpose
        ends_tie = before is not None and before.pitch == pitch
        tone = Tone(self._position, length, pitch, place, alteration, ends_tie)
        if self.percussion or self.transposition.percussion:
            self.bar.left_out["percussion"] += not ends_tie
            self.bar.note_heads -= ends_tie
        else:
            self.bar.tones.append(tone)
        return tone
