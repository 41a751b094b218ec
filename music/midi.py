"""Standard MIDI Files to scores and back, through symusic."""

import math
from collections import Counter
from itertools import pairwise
from typing import Any, Final

import numpy as np
import symusic

from music.errors import InvalidScoreError
from music.note_counts import NoteCounts
from music.score import IN_ORDER, TICKS_PER_QUARTER, Meter, Note, Score, require_length

_END_MARKER: Final = "end"


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
            track: Any = symusic.Track(name=f"Voice {number}", program=score.program, is_drum=False)
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
    file.markers.append(symusic.TextMeta(score.length_ticks, _END_MARKER))
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


def read_midi(data: bytes, counts: NoteCounts | None = None) -> Score:
    """The score in a Standard MIDI File: every pitched track is a voice, the highest (by mean pitch) first.

    Ticks are rescaled to `TICKS_PER_QUARTER`. The first meter, tempo, key and program count; a file whose
    meter changes later has meter None, since no clock could follow it, except that a first bar written in a
    meter of its own is a pickup. What a score cannot hold is added to `counts`: notes of `percussion` are left out;
    beside notes there are `tempo_changes`, `meter_changes`, tracks of `other_programs`, and the times that a `pedal`
    holds notes longer than their keys.

    Raises:
        InvalidScoreError: the bytes are no MIDI file, hold no pitched note, or last too long.
    """
    try:
        file: Any = symusic.Score.from_midi(data)
    except (RuntimeError, ValueError, IndexError) as error:
        raise InvalidScoreError("not a readable Standard MIDI File") from error
    if file.ticks_per_quarter <= 0:
        raise InvalidScoreError("the MIDI file counts no ticks in a quarter note")
    scale = TICKS_PER_QUARTER / file.ticks_per_quarter

    tracks = [track for track in file.tracks if not track.is_drum and len(track.notes)]
    if not tracks:
        raise InvalidScoreError("the MIDI file holds no pitched note")
    require_length(file.end() * scale)
    tracks.sort(key=lambda track: -sum(note.pitch for note in track.notes) / len(track.notes))
    notes: list[Note] = []
    for voice, track in enumerate(tracks):
        for event in track.notes:
            onset, end = round(event.time * scale), round(event.end * scale)
            velocity = min(max(event.velocity, 1), 127)
            notes.append(Note(onset, max(end - onset, 1), event.pitch, velocity, voice))
    notes.sort(key=IN_ORDER)

    meter, pickup_ticks = _meter_and_pickup(
        [(round(m.time * scale), m.numerator, m.denominator) for m in file.time_signatures]
    )
    if counts is not None:
        counts.kept += len(notes)
        percussion = sum(len(track.notes) for track in file.tracks if track.is_drum)
        counts.left_out.update(+Counter(percussion=percussion))
        counts.struck += len(notes) + percussion
        counts.other.update(_unheld(file, tracks, meter))
    length = max(note.end for note in notes)
    for marker in file.markers:
        if marker.text == _END_MARKER:
            length = max(length, round(marker.time * scale))
    return Score(
        notes=tuple(notes),
        length_ticks=length,
        meter=meter,
        pickup_ticks=pickup_ticks,
        tempo_bpm=_tempo([float(tempo.qpm) for tempo in file.tempos]),
        key_sharps=int(file.key_signatures[0].key) if len(file.key_signatures) else None,
        program=tracks[0].program,
    )


def _unheld(file: Any, tracks: list[Any], meter: Meter | None) -> Counter[str]:
    """What the file says and its score does not, by kind."""
    tempos = [tempo.qpm for tempo in sorted(file.tempos, key=lambda tempo: tempo.time)]
    meters = [(m.numerator, m.denominator) for m in sorted(file.time_signatures, key=lambda m: m.time)]
    counts = Counter(
        tempo_changes=sum(after != before for before, after in pairwise(tempos)),
        meter_changes=0 if meter else sum(after != before for before, after in pairwise(meters)),
        other_programs=sum(track.program != tracks[0].program for track in tracks),
        pedal=sum(len(track.pedals) for track in tracks),
    )
    return +counts


def _tempo(tempos: list[float]) -> float:
    """The first tempo, to a thousandth; the standard's own default where there is none or it is none."""
    usable = tempos and math.isfinite(tempos[0]) and tempos[0] > 0
    return round(tempos[0], 3) if usable else 120.0


def _meter_of(ticks: int) -> Meter:
    """The meter whose bar is `ticks` long, in the longest beat that fits."""
    for denominator in (4, 8, 16, 32):
        beat = 4 * TICKS_PER_QUARTER // denominator
        if ticks % beat == 0:
            return Meter(ticks // beat, denominator)
    raise InvalidScoreError(f"a pickup of {ticks} ticks is no whole number of 32nds")


def _meter_and_pickup(signatures: list[tuple[int, int, int]]) -> tuple[Meter | None, int]:
    meters: list[tuple[int, Meter]] = []
    for tick, numerator, denominator in sorted(signatures, key=lambda signature: signature[0]):
        try:
            meter = Meter(numerator, denominator)
        except InvalidScoreError:
            return None, 0
        if meters and meters[-1][0] == tick:
            meters.pop()  # the last of several at one tick holds
        if not meters or meters[-1][1] != meter:
            meters.append((tick, meter))
    if not meters or meters[0][0] != 0:
        return None, 0
    if len(meters) == 1:
        return meters[0][1], 0
    (_, first), (tick, second) = meters[:2]
    if len(meters) == 2 and first.bar_ticks == tick and tick < second.bar_ticks:
        return second, tick
    return None, 0
