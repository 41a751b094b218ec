from dataclasses import replace

import pytest

from music.score import Note, Score
from training.reproduce.keeping import TOLERANCE_TICKS, kept

SONG = Score((Note(0, 480, 60, 90), Note(960, 480, 64, 50), Note(1440, 480, 67, 70), Note(1440, 480, 72, 70)), 1920)


def test_what_comes_back_whole_is_kept_whole() -> None:
    result = kept([(SONG, SONG)])
    assert result.interval_distance == 0
    assert {result.notes, result.onsets, result.durations, result.velocities, result.rests} == {1.0}


def test_moments_are_the_same_within_half_a_twelfth_of_a_quarter_and_no_further() -> None:
    def moved(ticks: int) -> Score:
        return replace(SONG, notes=tuple(note._replace(onset=note.onset + ticks) for note in SONG.notes))

    assert kept([(SONG, moved(TOLERANCE_TICKS))]).onsets == 1
    assert kept([(SONG, moved(TOLERANCE_TICKS + 1))]).onsets == 0
    assert kept([(SONG, moved(TOLERANCE_TICKS + 1))]).notes == 1


def test_length_and_loudness_count_apart() -> None:
    short = replace(SONG, notes=tuple(note._replace(duration=240) for note in SONG.notes))
    assert (kept([(SONG, short)]).durations, kept([(SONG, short)]).velocities) == (0, 1)
    loud = replace(SONG, notes=tuple(note._replace(velocity=127) for note in SONG.notes))
    assert (kept([(SONG, loud)]).durations, kept([(SONG, loud)]).velocities) == (1, 0)


def test_no_note_is_matched_twice() -> None:
    thrice = Score(tuple(Note(0, 480, 60) for _ in range(3)), 480)
    once = Score((Note(0, 480, 60),), 480)
    assert kept([(thrice, once)]).onsets == pytest.approx(1 / 3, abs=1e-3)
    assert kept([(thrice, once)]).notes == pytest.approx(1 / 3, abs=1e-3)


def test_even_steps_keep_neither_the_rests_nor_the_times_between_onsets() -> None:
    even = Score(tuple(Note(index * 240, 240, note.pitch) for index, note in enumerate(SONG.notes)), 960)
    result = kept([(SONG, even)])
    assert result.notes == 1
    assert result.onsets == 0.25  # the first
    assert result.rests == 0
    assert result.interval_distance == 1


def test_half_of_a_rest_can_be_kept() -> None:
    longer = replace(SONG, notes=(SONG.notes[0]._replace(duration=720), *SONG.notes[1:]))
    assert kept([(SONG, longer)]).rests == 0.5


def test_songs_are_weighed_by_their_notes() -> None:
    empty = Score((), 0)
    assert kept([(SONG, SONG), (SONG, empty)]).notes == 0.5
