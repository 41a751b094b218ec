"""Scores to Standard MIDI Files, through symusic."""

from itertools import pairwise
from typing import Any, Final

import numpy as np
import symusic

from music.errors import InvalidScoreError
from music.score import TICKS_PER_QUARTER, Meter, Note, Score

END_MARKER: Final = "end"
"""Text of the marker where the score ends."""
TRACK_NAME: Final = "Voice"
"""Every track is called so, with the number of its voice behind."""


def write_midi(score: Score) -> bytes:
    """The score as a Standard MIDI File, format 1, one track for each voice.

    The first track carries tempo, meter and key. A pickup is written as most notation programs write it: a
    first bar in a meter of its own length, then the real one. A marker `end` stands at `length_ticks`, so
    that closing rests survive. Where a voice strikes and releases a key that it still holds, the file could not
    say which of the two is released, so the second stands in a further track.
    """
    file: Any = symusic.Score(TICKS_PER_QUARTER)  # its stubs know none of the factories' attributes
    file.tempos.append(symusic.Tempo(0, qpm=score.tempo_bpm))
    if score.meter is not None:
        if score.pickup_ticks:
            bar = _meter_of(score.pickup_ticks)
            file.time_signatures.append(symusic.TimeSignature(0, bar.numerator, bar.denominator))
        meter = score.meter
        file.time_signatures.append(symusic.TimeSignature(score.pickup_ticks, meter.numerator, meter.denominator))
    if score.key_sharps is not None:
        file.key_signatures.append(symusic.KeySignature(0, score.key_sharps, 0))
    voices: list[list[Note]] = [[] for _ in range(max(score.voices, 1))]
    for note in score.notes:
        voices[note.voice].append(note)
    for number, sung in enumerate(voices, 1):
        for notes in _tellable(sung):
            track: Any = symusic.Track(name=f"{TRACK_NAME} {number}", program=score.program, is_drum=False)
            if notes:
                onsets, durations, pitches, velocities, _ = zip(*notes, strict=True)
                track.notes = symusic.Note.from_numpy(
                    np.array(onsets, np.int32),
                    np.array(durations, np.int32),
                    np.array(pitches, np.int8),
                    np.array(velocities, np.int8),
                    "tick",
                )
            file.tracks.append(track)
    file.markers.append(symusic.TextMeta(score.length_ticks, END_MARKER))
    return bytes(file.dumps_midi())


def _tellable(notes: list[Note]) -> list[list[Note]]:
    """A voice's notes, divided so that the first of a key's strikes is always the first to be released."""
    if all(note.end <= following.onset for note, following in pairwise(notes)):
        return [notes]  # one note at a time, in their order: as most voices are
    tracks: list[list[Note]] = [[]]
    released: list[dict[int, int]] = [{}]  # of each track, the last release of each key
    for note in sorted(notes, key=lambda note: (note.onset, note.end)):
        place = next((i for i, ends in enumerate(released) if ends.get(note.pitch, 0) <= note.end), len(tracks))
        if place == len(tracks):
            tracks.append([])
            released.append({})
        tracks[place].append(note)
        released[place][note.pitch] = note.end
    return tracks


def _meter_of(ticks: int) -> Meter:
    """The meter whose bar is `ticks` long, in the longest beat that fits."""
    for denominator in (4, 8, 16, 32):
        beat = 4 * TICKS_PER_QUARTER // denominator
        if ticks % beat == 0:
            return Meter(ticks // beat, denominator)
    raise InvalidScoreError(f"a pickup of {ticks} ticks is no whole number of 32nds")
