"""Whether a piece closes, or just stops.

In several voices a piece closes with a triad in root position that all voices strike together and hold to the end, for
at least a quarter. The fifth may be missing. A single line closes with its tonic, struck on a beat and held to the end
for at least a quarter. Beats are quarters, and dotted quarters in compound meters. Other polyphonic music closes if
what sounds at its last onset is consonant and held, and less than a bar of rests follows: a triad over its root, or a
part of one, for at least a quarter, in meters of eighths at least an eighth.

Not all real pieces close: nine in ten chorales do, six in ten dance tunes and six in ten sections of piano music. The
others often run on into their repeat, most of all tunes that begin without a pickup: of these a third close.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from music.score import TICKS_PER_QUARTER, Meter, Score
from music.tokenizers import EventsTokenizer, GridTokenizer, Tokenizer
from training.evaluation.features import find_tonic

_TRIADS: Final = ({0, 4, 7}, {0, 3, 7}, {0, 4}, {0, 3})
"""Pitch classes above the lowest voice."""
_CONSONANCES: Final = (*_TRIADS, {0}, {0, 7})


def ending_check(tokenizer: Tokenizer) -> Callable[[Score], bool] | None:
    """What tells whether a piece closes; None if that is not defined for the tokenizer."""
    if isinstance(tokenizer, EventsTokenizer):
        return closes_consonantly
    if not isinstance(tokenizer, GridTokenizer):
        return None
    voices = tokenizer.voices
    return closes_on_tonic if voices == 1 else lambda score: closes_with_triad(score, voices)


def held_to_bar_line(score: Score) -> Score | None:
    """The piece with its last notes held to the bar line; None if it ends there already.

    A piece that begins with a pickup usually ends so much before a bar line. A requested length usually ends at one.
    """
    missing = (score.pickup_ticks - score.length_ticks) % (score.meter or Meter()).bar_ticks
    if not missing:
        return None
    notes = tuple(
        note._replace(duration=note.duration + missing) if note.end == score.length_ticks else note
        for note in score.notes
    )
    return replace(score, notes=notes, length_ticks=score.length_ticks + missing)


def closes_with_triad(score: Score, voices: int) -> bool:
    """Whether a piece in several voices closes."""
    last = {note.voice: note for note in sorted(score.notes, key=lambda note: note.onset)}
    chord = list(last.values())
    if len(chord) < voices or any(note.end != score.length_ticks for note in chord):
        return False
    if len({note.onset for note in chord}) > 1 or chord[0].duration < TICKS_PER_QUARTER:
        return False
    bass = min(note.pitch for note in chord)
    return {(note.pitch - bass) % 12 for note in chord} in _TRIADS


def closes_consonantly(score: Score) -> bool:
    """Whether polyphonic music with any number of notes closes. It does not see notes that its end has shortened."""
    if not score.notes:
        return False
    meter = score.meter or Meter()
    last = max(note.onset for note in score.notes)
    sonority = [note for note in score.notes if note.end > last]
    end = max(note.end for note in sonority)
    held = min(TICKS_PER_QUARTER, 4 * TICKS_PER_QUARTER // meter.denominator)
    if end - last < held or score.length_ticks - end >= meter.bar_ticks:
        return False
    bass = min(note.pitch for note in sonority)
    return {(note.pitch - bass) % 12 for note in sonority} in _CONSONANCES


def closes_on_tonic(score: Score) -> bool:
    """Whether a single line closes. Its tonic is that of `training.evaluation.features.find_tonic`."""
    if not score.notes:
        return False
    last = max(score.notes, key=lambda note: note.onset)
    meter = score.meter or Meter()
    is_compound = meter.beat_ticks == 3 * (4 * TICKS_PER_QUARTER // meter.denominator)
    beat = meter.beat_ticks if is_compound else TICKS_PER_QUARTER
    on_beat = (last.onset - score.pickup_ticks) % meter.bar_ticks % beat == 0
    if not on_beat or last.end != score.length_ticks or last.duration < TICKS_PER_QUARTER:
        return False
    durations = np.zeros(12)
    for note in score.notes:
        durations[note.pitch % 12] += note.duration
    return last.pitch % 12 == find_tonic(durations)
