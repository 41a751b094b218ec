"""A soprano that is given, a bass that was written, and the answer with both."""

from fantasia.v1 import generation_pb2 as pb
from music.midi import write_midi
from music.score import NOTE_ORDER, Note, Score

SOPRANO = [Note(0, 480, 72, 90, 0), Note(480, 480, 74, 90, 0), Note(960, 480, 76, 90, 0), Note(1440, 480, 72, 90, 0)]
BASS = [Note(0, 960, 48, 80, 1), Note(960, 480, 55, 80, 1), Note(1440, 480, 48, 80, 1)]
"""Written below the soprano: thirds and sixths, and a fifth in contrary motion."""


def note_message(note: Note) -> pb.Note:
    onset, duration, pitch, velocity, voice = note
    return pb.Note(onset_ticks=onset, duration_ticks=duration, pitch=pitch, velocity=velocity, voice=voice)


def answer(notes: list[Note], length: int = 1920) -> pb.GenerateResponse:
    score = Score(tuple(sorted(notes, key=NOTE_ORDER)), length)
    piece = pb.Piece(
        midi=write_midi(score),
        notes=map(note_message, score.notes),
        ticks_per_quarter=480,
        length_ticks=length,
        meter=pb.Meter(numerator=4, denominator=4),
        tempo_bpm=100.0,
        programs=[0, 0],
        finish_reason=pb.FINISH_REASON_LENGTH,
        seed=5,
        nats=10.0,
        given_nats=4.0,
    )
    return pb.GenerateResponse(
        pieces=[piece],
        model="duet",
        model_digest="d" * 64,
        precision="int8",
        candidates=1,
        given=pb.GivenReport(included=True, length_ticks=1920),
    )
