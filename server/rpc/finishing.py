"""What is done to a piece after it is written: programs, tempo, velocities, transposition, and the given part left out.

The notes of a stream and of the finished piece are changed in the same way, one by one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from music.bar_lines import BarLines
from music.dynamics import VelocityShape
from music.score import Note, Score, TempoChange


@dataclass(frozen=True, slots=True)
class Finishing:
    """Changes of a piece that do not depend on its tokens."""

    bar_lines: BarLines = field(default_factory=BarLines)
    """Meters and pickup of the piece, whether the model knows them or not."""
    tempo_bpm: float = 100.0
    """Tempo at the start."""
    tempo_changes: tuple[TempoChange, ...] = ()
    """Later tempos."""
    program: int = 0
    """Program of every voice that `programs` does not name."""
    programs: tuple[int, ...] = ()
    """Program of each voice, the highest voice first."""
    transposition: int = 0
    """Semitones."""
    shape: VelocityShape | None = None
    """Velocities of written notes; None to keep them."""
    kept: frozenset[Note] = frozenset()
    """Given notes, which keep their velocities."""
    omitted_ticks: int = 0
    """Length of the part at the start that is left out."""

    def notes(self, notes: Iterable[Note]) -> list[Note]:
        """The notes as they are returned."""
        if not (self.shape or self.transposition or self.omitted_ticks):
            return list(notes)
        return [self._note(note) for note in notes if note.onset >= self.omitted_ticks]

    def ticks(self, ticks: int) -> int:
        """A time of the whole piece as a time of the returned one."""
        return max(ticks - self.omitted_ticks, 0)

    def score(self, score: Score) -> Score:
        """The piece as it is returned."""
        length_ticks = score.length_ticks - self.omitted_ticks
        key, lines = score.key_sharps, self.returned_bar_lines
        return replace(
            score,
            notes=tuple(self.notes(score.notes)),
            length_ticks=length_ticks,
            meter=lines.meter,
            pickup_ticks=lines.pickup_ticks,
            tempo_bpm=self.returned_tempo_bpm,
            tempo_changes=self.returned_tempo_changes(length_ticks),
            program=self.program,
            programs=self.programs,
            key_sharps=None if key is None else transposed_key(key, self.transposition),
            meter_changes=tuple(change for change in lines.changes if change.tick < length_ticks),
        )

    @property
    def returned_bar_lines(self) -> BarLines:
        """Meters and pickup of the returned piece."""
        return self.bar_lines.cut(self.omitted_ticks)

    @property
    def returned_tempo_bpm(self) -> float:
        """Tempo at the start of the returned piece."""
        return tempo_at(self.omitted_ticks, self.tempo_bpm, self.tempo_changes)

    def returned_tempo_changes(self, length_ticks: int) -> tuple[TempoChange, ...]:
        """Later tempos of a returned piece of this length."""
        begin = self.omitted_ticks
        shifted = (change._replace(tick=change.tick - begin) for change in self.tempo_changes if change.tick > begin)
        return tuple(change for change in shifted if change.tick < length_ticks)

    def program_of(self, voice: int) -> int:
        """General MIDI program of a voice."""
        return self.programs[voice] if voice < len(self.programs) else self.program

    def _note(self, note: Note) -> Note:
        velocity = note.velocity
        if self.shape is not None and note not in self.kept:
            velocity = self.shape.velocity_at(note.onset, self.bar_lines)
        return note._replace(
            onset=note.onset - self.omitted_ticks, pitch=note.pitch + self.transposition, velocity=velocity
        )


def tempo_at(tick: int, tempo_bpm: float, changes: Iterable[TempoChange]) -> float:
    """The tempo that holds at a tick."""
    for change in changes:
        if change.tick <= tick:
            tempo_bpm = change.bpm
    return tempo_bpm


def transposed_key(sharps: int, semitones: int) -> int:
    """The key signature `semitones` higher, in the range -6 to 5, as `Score.transposed` has it."""
    return (sharps + 7 * semitones + 6) % 12 - 6 if semitones else sharps
