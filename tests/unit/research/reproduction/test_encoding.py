import pytest
from hypothesis import given
from hypothesis import strategies as st

from music.score import Note, Score
from research.reproduction.encoding import reduce_score, transpose_reduced


def pitches(score: Score) -> list[int]:
    return [note.pitch for note in score.notes]


def test_only_the_highest_part_stays() -> None:
    score = Score((Note(0, 480, 76, 90, 0), Note(0, 480, 40, 90, 1), Note(480, 480, 41, 90, 1)), 960)
    assert reduce_score(score).notes == (Note(0, 480, 76, 80, 0),)


def test_a_single_note_keeps_its_octave_and_a_chord_its_pitch_classes() -> None:
    score = Score((Note(0, 480, 88), Note(480, 480, 52), Note(480, 480, 67), Note(480, 240, 84)), 960)
    assert pitches(reduce_score(score)) == [88, 60, 64, 67]


def test_inversions_and_doublings_of_a_chord_are_equal() -> None:
    chords = [(60, 64, 67), (52, 60, 67), (48, 55, 64, 72)]
    reduced = {
        tuple(pitches(reduce_score(Score(tuple(Note(0, 480, pitch) for pitch in chord), 480)))) for chord in chords
    }
    assert reduced == {(60, 64, 67)}


@pytest.mark.parametrize(("semitones", "expected"), [(3, [63, 67, 70]), (-1, [63, 66, 71]), (0, [60, 64, 67])])
def test_transposed_chords_return_to_their_octave(semitones: int, expected: list[int]) -> None:
    chord = Score((Note(0, 480, 60), Note(0, 480, 64), Note(0, 480, 67)), 480)
    assert pitches(transpose_reduced(reduce_score(chord), semitones)) == expected


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(20, 100)), min_size=1, max_size=20, unique=True),
    st.integers(-6, 5),
)
def test_reducing_twice_changes_nothing_in_any_key(places: list[tuple[int, int]], semitones: int) -> None:
    score = Score(tuple(sorted(Note(onset * 240, 240, pitch) for onset, pitch in places)), 9 * 240)
    once = transpose_reduced(reduce_score(score), semitones)
    assert reduce_score(once) == once
    assert {note.onset for note in once.notes} == {note.onset for note in score.notes}


def test_a_pitch_doubled_in_octaves_is_a_single_note() -> None:
    assert pitches(reduce_score(Score((Note(0, 480, 38), Note(0, 480, 74)), 480))) == [62]
