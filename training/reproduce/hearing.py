"""Scores as the original experiment heard them.

It read the first instrument part alone. What starts together there became a note with its octave, or a chord that
kept only its pitch classes in normal order: octaves and doublings were lost, as were rests, lengths and loudness.
"""

from dataclasses import replace
from itertools import groupby

from music.score import Note, Score
from music.tokenizers.notechord import VELOCITY

_LOWEST = 60  # a pitch class without an octave is played in octave 4, as music21 does


def as_heard(score: Score) -> Score:
    """What the original would have heard of the score.

    The highest part stays; a chord becomes its pitch classes between C4 and B4, so that chords of the same
    classes, and no others, sound alike. Pitches that start together in one pitch class are one note, C4 to B4.
    """
    notes: list[Note] = []
    part = sorted(note for note in score.notes if note.voice == 0)
    for onset, together in groupby(part, key=lambda note: note.onset):
        sounding = list(together)
        pitches = {note.pitch for note in sounding}
        if len(pitches) > 1:
            pitches = {_LOWEST + pitch % 12 for pitch in pitches}
        duration = max(note.duration for note in sounding)
        notes += [Note(onset, duration, pitch, VELOCITY) for pitch in sorted(pitches)]
    return replace(score, notes=tuple(notes))


def heard_in_another_key(heard: Score, semitones: int) -> Score:
    """What was heard, transposed, and its chords voiced anew.

    Raises:
        InvalidScoreError: a pitch would leave 0 to 127.
    """
    return as_heard(heard.transposed(semitones))
