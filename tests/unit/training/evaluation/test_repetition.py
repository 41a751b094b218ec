import numpy as np
import pytest

from music.tokenizers import GridTokenizer, NoteChordTokenizer
from training.evaluation.repetition import RunLength, bound, share_above


def test_each_voice_is_measured_by_itself() -> None:
    grid = RunLength(GridTokenizer(voices=2, lowest_pitch=60, highest_pitch=70))
    changing, stuck = [4, 5, 6, 7, 4, 5], [8, 3, 3, 3, 3, 5]
    tokens = np.array([changing, stuck]).T.ravel()
    assert grid.longest(tokens) == 4
    assert grid.longest(np.array([4, 4, 5, 5])) == 1  # the same pitch in both voices is no repetition


def test_without_voices_the_whole_sequence_is_measured() -> None:
    chords = RunLength(NoteChordTokenizer(names=["C4", "D4", "E4"]))
    assert chords.longest(np.array([2, 3, 3, 3, 4])) == 3
    assert chords.longest(np.array([], np.int32)) == 0


def test_a_repetitive_piece_is_above_the_bound_and_a_real_one_is_not() -> None:
    limit = bound([4, 8, 8, 16, 12])
    assert limit == pytest.approx(16, abs=0.1)
    assert share_above([4, 200, 16, 15], limit) == 0.5
