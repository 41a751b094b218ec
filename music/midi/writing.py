"""From scores to Standard MIDI Files, with symusic."""

from bisect import bisect_left
from collections import defaultdict
from itertools import pairwise
from typing import Any, Final

import numpy as np
import symusic

from music.errors import InvalidScoreError
from music.midi.limits import MAX_TRACKS
from music.score import TICKS_PER_QUARTER, Meter, Note, Score

END_MARKER: Final = "end"
"""Text of the marker at the score's end."""
TRACK_NAME: Final = "Voice"
"""First word of every track name; the second is the number of the voice, from 1."""
_SLOWEST_BPM: Final = 60_000_000 / (2**24 - 1)
"""A tempo is three bytes: the microseconds of a quarter note."""


def write_midi(score: Score) -> bytes:
    """The score as a Standard MIDI File, format 1, with a track for each voice.

    The first track has tempos, meters and key. A change at or after the score's end is not written. A pickup is
    written as most notation programs write it: a first bar with a meter of the pickup's length, then the real meter. A
    marker `end` at `length_ticks` keeps rests at the end. If a voice plays a pitch while the same pitch still sounds, a
    note-off would be ambiguous; then the second note is in an additional track.

    Raises:
        InvalidScoreError: the pickup is no whole number of 32nds, or more than `MAX_TRACKS` tracks are needed.
    """
    file: Any = symusic.Score(TICKS_PER_QUARTER)  # its type stubs lack these attributes
    for tick, bpm in ((0, score.tempo_bpm), *score.tempo_changes):
        if tick == 0 or tick < score.length_ticks:
            file.tempos.append(symusic.Tempo(tick, qpm=max(bpm, _SLOWEST_BPM)))
    if score.meter is not None:
        if score.pickup_ticks:
            bar = _meter_of(score.pickup_ticks)
            file.time_signatures.append(symusic.TimeSignature(0, bar.numerator, bar.denominator))
        meter = score.meter
        file.time_signatures.append(symusic.TimeSignature(score.pickup_ticks, meter.numerator, meter.denominator))
    for tick, meter in score.meter_changes:
        if tick < score.length_ticks:
            file.time_signatures.append(symusic.TimeSignature(tick, meter.numerator, meter.denominator))
    if score.key_sharps is not None:
        file.key_signatures.append(symusic.KeySignature(0, score.key_sharps, 0))
    voices: list[list[Note]] = [[] for _ in range(max(score.voices, 1))]
    for note in score.notes:
        voices[note.voice].append(note)
    for voice, voice_notes in enumerate(voices):
        for notes in _split_ambiguous(voice_notes):
            if len(file.tracks) == MAX_TRACKS:
                raise InvalidScoreError(f"the score needs more than {MAX_TRACKS:,} tracks of a MIDI file")
            name, program = f"{TRACK_NAME} {voice + 1}", score.program_of(voice)
            track: Any = symusic.Track(name=name, program=program, is_drum=False)
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


def _split_ambiguous(notes: list[Note]) -> list[list[Note]]:
    """A voice's notes in tracks, so that in each track the notes of one pitch end in the order of their onsets."""
    if all(note.onset + note.duration <= following.onset for note, following in pairwise(notes)):
        return [notes]  # the common case: one note at a time
    tracks: list[list[Note]] = [[]]
    # By pitch, the last end in each track, negative. A note goes to the first track where no note of its pitch ends
    # later, so these ends fall from track to track, and their negatives are sorted.
    last_ends: defaultdict[int, list[int]] = defaultdict(list)
    for note in sorted(notes, key=lambda note: (note.onset, note.end)):
        ends = last_ends[note.pitch]
        place = bisect_left(ends, -note.end)
        ends[place : place + 1] = [-note.end]
        if place == len(tracks):
            tracks.append([])
        tracks[place].append(note)
    return tracks


def _meter_of(ticks: int) -> Meter:
    """The meter with a bar of `ticks`, with the longest possible beat."""
    for denominator in (4, 8, 16, 32):
        beat = 4 * TICKS_PER_QUARTER // denominator
        if ticks % beat == 0:
            return Meter(ticks // beat, denominator)
    raise InvalidScoreError(f"a pickup of {ticks} ticks is no whole number of 32nds")
