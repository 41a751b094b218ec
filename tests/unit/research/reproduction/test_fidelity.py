from dataclasses import replace

import pytest

from music.score import Note, Score
from research.reproduction.fidelity import TOLERANCE_TICKS, round_trip_fidelity

SONG = Score((Note(0, 480, 60, 90), Note(960, 480, 64, 50), Note(1440, 480, 67, 70), Note(1440, 480, 72, 70)), 1920)


def test_an_identical_song_has_full_fidelity() -> None:
    result = round_trip_fidelity([(SONG, SONG)])
    assert result.interval_distance == 0
    assert {result.notes, result.onsets, result.durations, result.velocities, result.rests} == {1.0}


def test_onsets_are_equal_within_the_tolerance() -> None:
    def moved(ticks: int) -> Score:
        return replace(SONG, notes=tuple(note._replace(onset=note.onset + ticks) for note in SONG.notes))

    assert round_trip_fidelity([(SONG, moved(TOLERANCE_TICKS))]).onsets == 1
    assert round_trip_fidelity([(SONG, moved(TOLERANCE_TICKS + 1))]).onsets == 0
    assert round_trip_fidelity([(SONG, moved(TOLERANCE_TICKS + 1))]).notes == 1


def test_durations_and_velocities_count_separately() -> None:
    short = replace(SONG, notes=tuple(note._replace(duration=240) for note in SONG.notes))
    assert (round_trip_fidelity([(SONG, short)]).durations, round_trip_fidelity([(SONG, short)]).velocities) == (0, 1)
    loud = replace(SONG, notes=tuple(note._replace(velocity=127) for note in SONG.notes))
    assert (round_trip_fidelity([(SONG, loud)]).durations, round_trip_fidelity([(SONG, loud)]).velocities) == (1, 0)


def test_no_note_is_matched_twice() -> None:
    thrice = Score(tuple(Note(0, 480, 60) for _ in range(3)), 480)
    once = Score((Note(0, 480, 60),), 480)
    assert round_trip_fidelity([(thrice, once)]).onsets == pytest.approx(1 / 3, abs=1e-3)
    assert round_trip_fidelity([(thrice, once)]).notes == pytest.approx(1 / 3, abs=1e-3)


def test_even_steps_lose_rests_and_inter_onset_times() -> None:
    even = Score(tuple(Note(index * 240, 240, note.pitch) for index, note in enumerate(SONG.notes)), 960)
    result = round_trip_fidelity([(SONG, even)])
    assert result.notes == 1
    assert result.onsets == 0.25  # the first
    assert result.rests == 0
    assert result.interval_distance == 1


def test_a_rest_can_remain_in_part() -> None:
    longer = replace(SONG, notes=(SONG.notes[0]._replace(duration=720), *SONG.notes[1:]))
    assert round_trip_fidelity([(SONG, longer)]).rests == 0.5


def test_songs_are_weighted_by_their_notes() -> None:
    empty = Score((), 0)
    assert round_trip_fidelity([(SONG, SONG), (SONG, empty)]).notes == 0.5
