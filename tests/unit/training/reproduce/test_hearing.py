import pytest
from hypothesis import given
from hypothesis import strategies as st

from music.score import Note, Score
from training.reproduce.hearing import as_heard, heard_in_another_key


def pitches(score: Score) -> list[int]:
    return [note.pitch for note in score.notes]


def test_only_the_highest_part_is_heard() -> None:
    score = Score((Note(0, 480, 76, 90, 0), Note(0, 480, 40, 90, 1), Note(480, 480, 41, 90, 1)), 960)
    assert as_heard(score).notes == (Note(0, 480, 76, 80, 0),)


def test_a_single_note_keeps_its_octave_and_a_chord_its_pitch_classes() -> None:
    score = Score((Note(0, 480, 88), Note(480, 480, 52), Note(480, 480, 67), Note(480, 240, 84)), 960)
    assert pitches(as_heard(score)) == [88, 60, 64, 67]


def test_inversions_and_doublings_of_a_chord_sound_alike() -> None:
    chords = [(60, 64, 67), (52, 60, 67), (48, 55, 64, 72)]
    heard = {tuple(pitches(as_heard(Score(tuple(Note(0, 480, pitch) for pitch in chord), 480)))) for chord in chords}
    assert heard == {(60, 64, 67)}


@pytest.mark.parametrize(("semitones", "expected"), [(3, [63, 67, 70]), (-1, [63, 66, 71]), (0, [60, 64, 67])])
def test_transposed_chords_are_voiced_anew(semitones: int, expected: list[int]) -> None:
    chord = Score((Note(0, 480, 60), Note(0, 480, 64), Note(0, 480, 67)), 480)
    assert pitches(heard_in_another_key(as_heard(chord), semitones)) == expected


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(20, 100)), min_size=1, max_size=20, unique=True),
    st.integers(-6, 5),
)
def test_hearing_twice_is_hearing_once_in_any_key(places: list[tuple[int, int]], semitones: int) -> None:
    score = Score(tuple(sorted(Note(onset * 240, 240, pitch) for onset, pitch in places)), 9 * 240)
    once = heard_in_another_key(as_heard(score), semitones)
    assert as_heard(once) == once
    assert {note.onset for note in once.notes} == {note.onset for note in score.notes}


def test_what_doubles_a_pitch_in_octaves_is_a_single_note() -> None:
    assert pitches(as_heard(Score((Note(0, 480, 38), Note(0, 480, 74)), 480))) == [62]
