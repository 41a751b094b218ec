"""The given piece of a request, read independently of the server's own reader of notes."""

from dataclasses import dataclass
from typing import NamedTuple, Self

from bench.fuzz.bars import Bars
from bench.fuzz.facts import TICKS_PER_QUARTER
from fantasia.v1 import generation_pb2 as pb
from music.midi import read_midi


class Sound(NamedTuple):
    """A note, in 480 ticks a quarter."""

    onset: int
    duration: int
    pitch: int
    velocity: int
    voice: int

    @property
    def end(self) -> int:
        """The first tick after it."""
        return self.onset + self.duration


@dataclass(frozen=True, slots=True)
class Given:
    """A given piece; its voices are numbered as the model's."""

    notes: tuple[Sound, ...]
    length: int
    bars: Bars
    tempo_bpm: float | None
    """None if it has none, or more than one."""
    has_dynamics: bool
    """Whether not all notes have one velocity, those included that `GivenPiece.voices` leaves out."""

    @classmethod
    def of(cls, message: pb.GivenPiece) -> Self:
        """The piece of a valid message. MIDI files are read with `music.midi`, which has tests of its own."""
        if message.WhichOneof("piece") == "midi":
            score = read_midi(message.midi)
            notes = [Sound(*note) for note in score.notes]
            length, pickup = score.length_ticks, score.pickup_ticks
            meter = (score.meter.numerator, score.meter.denominator) if score.meter else None
            changes = tuple((tick, (later.numerator, later.denominator)) for tick, later in score.meter_changes)
            tempo = None if score.tempo_changes else min(max(score.tempo_bpm, 10.0), 400.0)
        else:
            listed = message.notes
            resolution = listed.ticks_per_quarter or TICKS_PER_QUARTER

            def scaled(ticks: int) -> int:
                return round(ticks * TICKS_PER_QUARTER / resolution)

            notes = []
            for note in listed.notes:
                onset, end = scaled(note.onset_ticks), scaled(note.onset_ticks + note.duration_ticks)
                notes.append(Sound(onset, max(end - onset, 1), note.pitch, note.velocity or 80, note.voice))
            length = max([scaled(listed.length_ticks), *(note.end for note in notes)])
            meter = (listed.meter.numerator, listed.meter.denominator) if listed.HasField("meter") else None
            tempo, pickup = (listed.tempo_bpm if listed.HasField("tempo_bpm") else None), scaled(listed.pickup_ticks)
            changes = ()
        places = list(message.voices) or range(1 + max(note.voice for note in notes))
        placed = tuple(note._replace(voice=places[note.voice]) for note in notes if note.voice < len(places))
        has_dynamics = len({note.velocity for note in notes}) > 1
        return cls(placed, length, Bars(meter, pickup, changes), tempo, has_dynamics)
