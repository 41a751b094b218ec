import io
from contextlib import suppress
from typing import Any

import mido
import pytest
import symusic
from hypothesis import given
from hypothesis import strategies as st
from music21 import converter

from music.errors import InvalidScoreError
from music.midi import read_midi, write_midi
from music.note_counts import NoteCounts
from music.score import Meter, Note, Score
from tests.unit.music.strategies import grid_scores

PIECE = Score(
    notes=(Note(0, 480, 72, 90, 0), Note(0, 960, 48, 70, 1), Note(480, 240, 74, 90, 0)),
    length_ticks=1920,
    meter=Meter(3, 4),
    pickup_ticks=480,
    tempo_bpm=90.0,
    key_sharps=-2,
    program=19,
)


def test_a_score_survives_the_file_whole() -> None:
    assert read_midi(write_midi(PIECE)) == PIECE


def test_the_bytes_of_a_file_stay_as_they_are() -> None:
    """Answers are promised to be the same bytes for the same request."""
    assert write_midi(PIECE) == bytes.fromhex(
        "4d546864 00000006 0001 0002 01e0"
        "4d54726b 00000049 00ff580401021808 00ff5902fe00 00ff51030a2c2b 00ff0307566f6963652031 00c013"
        "0090485a 8360ff580403021808 0080485a 00904a5a 8170804a5a 8930ff0603656e64 01ff2f00"
        "4d54726b 0000001b 00ff0307566f6963652032 00c113 00913046 8740813046 01ff2f00"
    )


@given(score=grid_scores(voices=1))
def test_any_voice_survives_the_file(score: Score) -> None:
    if not score.notes:
        with pytest.raises(InvalidScoreError, match="no pitched note"):
            read_midi(write_midi(score))
        return
    again = read_midi(write_midi(score))
    assert again.tempo_bpm == pytest.approx(score.tempo_bpm, abs=0.01)  # stored in whole microseconds
    assert (again.notes, again.length_ticks, again.meter, again.pickup_ticks, again.key_sharps, again.program) == (
        (score.notes, score.length_ticks, score.meter, score.pickup_ticks, score.key_sharps, score.program)
    )


def test_a_second_library_and_music21_read_the_same_music() -> None:
    data = write_midi(PIECE)
    file = mido.MidiFile(file=io.BytesIO(data))
    assert (file.type, file.ticks_per_beat, len(file.tracks)) == (1, 480, 2)
    heard = []
    for track in file.tracks:
        tick = 0
        for message in track:
            tick += message.time
            if message.type == "note_on" and message.velocity:
                heard.append((tick, message.note, message.velocity))
    assert sorted(heard) == [(0, 48, 70), (0, 72, 90), (480, 74, 90)]
    assert {m.program for t in file.tracks for m in t if m.type == "program_change"} == {19}
    tempos = [m.tempo for m in file.tracks[0] if m.type == "set_tempo"]
    assert mido.tempo2bpm(tempos[0]) == pytest.approx(90, abs=0.01)
    signatures = [(m.numerator, m.denominator) for m in file.tracks[0] if m.type == "time_signature"]
    assert signatures == [(1, 4), (3, 4)]

    parsed = converter.parseData(data, format="midi")
    notes = sorted((float(n.getOffsetInHierarchy(parsed)), n.pitch.midi) for n in parsed.recurse().notes)
    assert notes == [(0.0, 48), (0.0, 72), (1.0, 74)]


def test_tracks_become_voices_from_the_highest_to_the_lowest_without_drums() -> None:
    file: Any = symusic.Score(96)
    for pitch, drum in ((40, False), (70, False), (35, True), (55, False)):
        track: Any = symusic.Track(program=0, is_drum=drum)
        track.notes.append(symusic.Note(48, 96, pitch, 64))
        file.tracks.append(track)
    score = read_midi(file.dumps_midi())
    assert [(n.voice, n.pitch, n.onset, n.duration) for n in score.notes] == [
        (0, 70, 240, 480),
        (1, 55, 240, 480),
        (2, 40, 240, 480),
    ]
    assert (score.meter, score.pickup_ticks, score.tempo_bpm, score.key_sharps) == (None, 0, 120.0, None)


def test_a_meter_that_changes_is_no_meter() -> None:
    file: Any = symusic.Score(480)
    track: Any = symusic.Track()
    track.notes.append(symusic.Note(0, 9000, 60, 64))
    file.tracks.append(track)
    for tick, beats in ((0, 4), (3840, 3)):
        file.time_signatures.append(symusic.TimeSignature(tick, beats, 4))
    assert read_midi(file.dumps_midi()).meter is None


@pytest.mark.parametrize("data", [b"", b"garbage", b"MThd" + bytes(10), b"RIFF" + bytes(100)])
def test_what_is_no_midi_file_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidScoreError):
        read_midi(data)


@given(place=st.integers(0, 200), byte=st.integers(0, 255), cut=st.integers(0, 60))
def test_a_damaged_file_is_read_or_refused_but_nothing_else(place: int, byte: int, cut: int) -> None:
    data = bytearray(write_midi(PIECE))
    data[place % len(data)] = byte
    with suppress(InvalidScoreError):
        read_midi(bytes(data[: len(data) - cut]))


def test_a_key_struck_and_released_while_it_is_held_survives_the_file() -> None:
    notes = (Note(0, 960, 60, 90), Note(240, 240, 60, 70), Note(720, 480, 60, 50), Note(720, 240, 64, 40))
    again = read_midi(write_midi(Score(notes, 1920)))
    assert sorted(note[:4] for note in again.notes) == sorted(note[:4] for note in notes)
    assert again.voices == 2
    overlapping = Score((notes[0], notes[2]), 1920)  # the first struck is the first released
    assert read_midi(write_midi(overlapping)).notes == overlapping.notes


def test_what_a_score_cannot_hold_is_counted() -> None:
    file: Any = symusic.Score(480)
    for program, drum in ((0, False), (0, False), (40, False), (0, True)):
        track: Any = symusic.Track(program=program, is_drum=drum)
        track.notes.append(symusic.Note(0, 480, 60, 64))
        track.notes.append(symusic.Note(480, 480, 60, 64))
        if not drum:
            track.controls.append(symusic.ControlChange(0, 64, 127))
            track.controls.append(symusic.ControlChange(480, 64, 0))
        file.tracks.append(track)
    for tick, bpm in ((960, 90), (0, 100), (480, 90)):
        file.tempos.append(symusic.Tempo(tick, qpm=bpm))
    for tick, beats in ((1920, 3), (0, 4), (3360, 4)):
        file.time_signatures.append(symusic.TimeSignature(tick, beats, 4))
    counts = NoteCounts()
    read_midi(file.dumps_midi(), counts)
    assert counts.left_out == {"percussion": 2}
    assert counts.other == {"tempo_changes": 1, "meter_changes": 2, "other_programs": 1, "pedal": 3}


def test_a_file_that_a_score_holds_whole_loses_nothing() -> None:
    counts = NoteCounts()
    read_midi(write_midi(PIECE), counts)
    assert counts == NoteCounts(struck=len(PIECE.notes), kept=len(PIECE.notes))
