"""Scores reduced to what the original experiment encoded.

It read the first instrument part alone. Notes that start together became one token: a single note with its octave, or a
chord as a set of pitch classes in normal order. Octaves and doublings of chords, rests, durations and dynamics were
lost.
"""

from dataclasses import replace
from itertools import groupby

from music.score import Note, Score
from music.tokenizers.notechord import VELOCITY

_LOWEST = 60  # music21 plays a pitch class without an octave in octave 4


def reduce_score(score: Score) -> Score:
    """Keep what the original experiment encoded.

    The highest part stays. A chord becomes its pitch classes between C4 and B4, so two chords are equal if and only if
    their pitch classes are. Notes that start together in one pitch class become one note between C4 and B4.
    """
    notes: list[Note] = []
    part = sorted(note for note in score.notes if note.voice == 0)
    for onset, group in groupby(part, key=lambda note: note.onset):
        simultaneous = list(group)
        pitches = {note.pitch for note in simultaneous}
        if len(pitches) > 1:
            pitches = {_LOWEST + pitch % 12 for pitch in pitches}
        duration = max(note.duration for note in simultaneous)
        notes += [Note(onset, duration, pitch, VELOCITY) for pitch in sorted(pitches)]
    return replace(score, notes=tuple(notes))


def transpose_reduced(reduced: Score, semitones: int) -> Score:
    """Transpose a reduced score and bring its chords back between C4 and B4.

    Raises:
        InvalidScoreError: a pitch would leave 0 to 127.
    """
    return reduce_score(reduced.transposed(semitones))
