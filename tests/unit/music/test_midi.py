import io
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
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
from music.score import NOTE_ORDER, Meter, MeterChange, Note, Score, TempoChange
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


def test_a_score_survives_a_file() -> None:
    assert read_midi(write_midi(PIECE)) == PIECE


def test_a_score_always_has_the_same_bytes() -> None:
    """The same request must return the same bytes in every version."""
    assert write_midi(PIECE) == bytes.fromhex(
        "4d546864 00000006 0001 0002 01e0"
        "4d54726b 00000049 00ff580401021808 00ff5902fe00 00ff51030a2c2b 00ff0307566f6963652031 00c013"
        "0090485a 8360ff580403021808 0080485a 00904a5a 8170804a5a 8930ff0603656e64 01ff2f00"
        "4d54726b 0000001b 00ff0307566f6963652032 00c113 00913046 8740813046 01ff2f00"
    )


@given(score=grid_scores(voices=1))
def test_any_voice_survives_a_file(score: Score) -> None:
    if not score.notes:
        with pytest.raises(InvalidScoreError, match="no pitched note"):
            read_midi(write_midi(score))
        return
    again = read_midi(write_midi(score))
    assert again.tempo_bpm == pytest.approx(score.tempo_bpm, abs=0.01)  # stored in whole microseconds
    assert (again.notes, again.length_ticks, again.meter, again.pickup_ticks, again.key_sharps, again.program) == (
        (score.notes, score.length_ticks, score.meter, score.pickup_ticks, score.key_sharps, score.program)
    )


@st.composite
def scores_with_tempos_and_programs(draw: st.DrawFn) -> Score:
    """Scores that a file can hold exactly: voices from high to low, tempos in whole microseconds a quarter note."""
    voices = draw(st.integers(1, 6))
    notes = [
        Note(onset * 60, draw(st.integers(1, 4)) * 60, 100 - 12 * voice, draw(st.sampled_from([80, 81])), voice)
        for voice in range(voices)
        for onset in sorted(draw(st.sets(st.integers(0, 20).map(lambda place: 4 * place), min_size=1, max_size=6)))
    ]
    length = max(note.end for note in notes) + draw(st.integers(0, 2000))
    ticks = sorted(draw(st.sets(st.integers(1, length - 1), max_size=10)))
    microseconds = st.integers(1, 2**24 - 1) | st.integers(200_000, 2_000_000)
    tempos = [round(60_000_000 / draw(microseconds), 3) for _ in range(len(ticks) + 1)]
    changes = zip(ticks, pairwise(tempos), strict=True)
    programs = draw(st.lists(st.integers(0, 127), min_size=voices, max_size=voices))
    return Score(
        notes=tuple(sorted(notes, key=NOTE_ORDER)),
        length_ticks=length,
        meter=draw(st.none() | st.sampled_from([Meter(4, 4), Meter(6, 8)])),
        tempo_bpm=tempos[0],
        program=programs[0],
        tempo_changes=tuple(TempoChange(tick, bpm) for tick, (before, bpm) in changes if bpm != before),
        programs=tuple(programs) if len(set(programs)) > 1 else (),
        has_dynamics=len({note.velocity for note in notes}) > 1,
    )


@st.composite
def scores_with_meters(draw: st.DrawFn) -> Score:
    """Scores whose meter changes, also within bars. In 4/4 and longer ones, no first bar looks like a pickup."""
    length = draw(st.integers(4000, 20_000))
    ticks = sorted(draw(st.sets(st.integers(2000, length - 1), max_size=6)))
    meters = draw(st.lists(st.sampled_from([Meter(4, 4), Meter(5, 4), Meter(9, 8)]), min_size=7, max_size=7))
    changes = zip(ticks, pairwise(meters), strict=False)
    return Score(
        notes=(Note(0, 480, 60),),
        length_ticks=length,
        meter=meters[0],
        pickup_ticks=draw(st.integers(0, 31)) * 60,
        tempo_bpm=120.0,
        meter_changes=tuple(MeterChange(tick, meter) for tick, (before, meter) in changes if meter != before),
        has_dynamics=False,
    )


@given(score=scores_with_tempos_and_programs() | scores_with_meters())
def test_changes_and_programs_survive_a_file(score: Score) -> None:
    counts = NoteCounts()
    assert read_midi(write_midi(score), counts) == score
    assert not counts.other


def test_a_file_has_dynamics_if_velocities_differ() -> None:
    flat = replace(PIECE, notes=tuple(note._replace(velocity=64) for note in PIECE.notes))
    louder = replace(flat, notes=(*flat.notes[:-1], flat.notes[-1]._replace(velocity=65)))
    assert [read_midi(write_midi(score)).has_dynamics for score in (flat, louder)] == [False, True]


def test_changes_after_the_end_are_not_written() -> None:
    late = replace(PIECE, tempo_changes=(TempoChange(1919, 60.0), TempoChange(1920, 75.0)))
    assert read_midi(write_midi(late)) == replace(late, tempo_changes=late.tempo_changes[:1])
    late = replace(PIECE, meter_changes=(MeterChange(1919, Meter(2, 4)), MeterChange(1920, Meter(3, 8))))
    assert read_midi(write_midi(late)) == replace(late, meter_changes=late.meter_changes[:1])


def test_a_voice_beyond_the_programs_has_the_program_of_the_score() -> None:
    assert read_midi(write_midi(replace(PIECE, programs=(40,)))).programs == (40, 19)


def test_nested_notes_of_one_pitch_are_written_in_as_many_tracks() -> None:
    nested = tuple(Note(index, 4000 - 2 * index, 60) for index in range(1025))
    data = write_midi(Score(nested[:1024], 4000))
    assert sorted(note[:3] for note in read_midi(data).notes) == [note[:3] for note in nested[:1024]]
    with pytest.raises(InvalidScoreError, match="the score needs more than 1,024 tracks of a MIDI file"):
        write_midi(Score(nested, 4000))


def test_mido_and_music21_read_the_same_notes() -> None:
    data = write_midi(PIECE)
    file = mido.MidiFile(file=io.BytesIO(data))
    assert (file.type, file.ticks_per_beat, len(file.tracks)) == (1, 480, 2)
    events = []
    for track in file.tracks:
        tick = 0
        for message in track:
            tick += message.time
            if message.type == "note_on" and message.velocity:
                events.append((tick, message.note, message.velocity))
    assert sorted(events) == [(0, 48, 70), (0, 72, 90), (480, 74, 90)]
    assert {m.program for t in file.tracks for m in t if m.type == "program_change"} == {19}
    tempos = [m.tempo for m in file.tracks[0] if m.type == "set_tempo"]
    assert mido.tempo2bpm(tempos[0]) == pytest.approx(90, abs=0.01)
    signatures = [(m.numerator, m.denominator) for m in file.tracks[0] if m.type == "time_signature"]
    assert signatures == [(1, 4), (3, 4)]

    parsed = converter.parseData(data, format="midi")
    notes = sorted((float(n.getOffsetInHierarchy(parsed)), n.pitch.midi) for n in parsed.recurse().notes)
    assert notes == [(0.0, 48), (0.0, 72), (1.0, 74)]


def test_tracks_become_voices_the_highest_first_without_percussion() -> None:
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


@pytest.mark.parametrize("data", [b"", b"garbage", b"MThd" + bytes(10), b"RIFF" + bytes(100)])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidScoreError):
        read_midi(data)


@given(place=st.integers(0, 200), byte=st.integers(0, 255), cut=st.integers(0, 60))
def test_a_damaged_file_is_read_or_refused(place: int, byte: int, cut: int) -> None:
    data = bytearray(write_midi(PIECE))
    data[place % len(data)] = byte
    with suppress(InvalidScoreError):
        read_midi(bytes(data[: len(data) - cut]))


def test_overlapping_notes_of_one_pitch_survive_a_file() -> None:
    notes = (Note(0, 960, 60, 90), Note(240, 240, 60, 70), Note(720, 480, 60, 50), Note(720, 240, 64, 40))
    again = read_midi(write_midi(Score(notes, 1920)))
    assert sorted(note[:4] for note in again.notes) == sorted(note[:4] for note in notes)
    assert again.voices == 2
    overlapping = Score((notes[0], notes[2]), 1920)  # the first note-on is the first note-off
    assert read_midi(write_midi(overlapping)).notes == overlapping.notes


def test_lost_elements_are_counted() -> None:
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
    score = read_midi(file.dumps_midi(), counts)
    assert counts.left_out == {"percussion": 2}
    assert counts.other == {"meter_changes": 2, "pedal": 3}, "the meters come after the end"
    assert (score.tempo_changes, score.programs) == (((480, 90.0),), (0, 0, 40))


def test_a_file_without_losses_has_no_counts() -> None:
    counts = NoteCounts()
    read_midi(write_midi(PIECE), counts)
    assert counts == NoteCounts(written=len(PIECE.notes), kept=len(PIECE.notes))
