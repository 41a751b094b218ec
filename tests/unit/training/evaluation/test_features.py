import numpy as np
import pytest

from music.score import Meter, Note, Score
from tests.unit.training.evaluation.scores import score
from training.evaluation.features import FEATURES, find_tonic, measure_piece

SCALE = [60, 62, 64, 65, 67, 69, 71, 72]


def feature(name: str, piece: Score) -> np.ndarray:
    index = [feature.name for feature in FEATURES].index(name)
    return measure_piece(piece)[index]


def test_pitch_classes_are_counted_from_the_tonic_so_that_keys_do_not_matter() -> None:
    piece = score([*SCALE, 67, 64, 60, 60])
    histogram = feature("pitch_class", piece)
    assert histogram[0] == pytest.approx(4 / 12)
    assert histogram[7] == pytest.approx(2 / 12)
    for name in ("pitch_class", "pitch_class_transition", "interval", "scale_consistency", "groove"):
        np.testing.assert_allclose(feature(name, piece), feature(name, piece.transposed(5)))
    assert feature("key", piece)[0] == pytest.approx(4 / 12)
    assert feature("key", piece.transposed(5))[5] == pytest.approx(4 / 12)


@pytest.mark.parametrize("root", range(12))
def test_the_tonic_of_a_scale_with_its_triad_is_found(root: int) -> None:
    durations = np.roll(np.array([4, 0, 1, 0, 2, 1, 0, 3, 0, 1, 0, 1], np.float64), root)
    assert find_tonic(durations) == root


def test_intervals_follow_each_voice() -> None:
    histogram = feature("interval", score([60, 62, 62], [48, 36, 36]))
    assert histogram[24 + 2] == pytest.approx(1 / 4)
    assert histogram[24] == pytest.approx(2 / 4)
    assert histogram[24 - 12] == pytest.approx(1 / 4)


def test_of_notes_that_begin_together_in_a_voice_the_highest_counts() -> None:
    piece = Score((Note(0, 480, 60), Note(0, 480, 64), Note(480, 480, 65)), 960)
    histogram = feature("interval", piece)
    assert histogram[24 + 1] == 1.0


def test_lengths_and_gaps_between_onsets() -> None:
    piece = Score((Note(0, 480, 60), Note(480, 160, 62), Note(960, 480, 64, 80, 1)), 1440)
    lengths = feature("note_length", piece)
    assert lengths[24] == pytest.approx(2 / 3)  # quarters, in 24ths
    assert lengths[8] == pytest.approx(1 / 3)  # a triplet eighth
    assert feature("ioi", piece)[24] == 1.0


def test_range_and_scale() -> None:
    assert feature("range", score([60, 72, 61]))[0] == 12
    assert feature("scale_consistency", score(SCALE))[0] == 1.0
    assert feature("scale_consistency", score([60, 61, 62, 63]))[0] == pytest.approx(
        3 / 4
    )  # B flat major lacks C sharp


def test_groove_tells_bars_apart() -> None:
    steady = score([60] * 8)
    assert feature("groove", steady)[0] == 1.0
    broken = score([60, 60, 60, 60, 60, 0, 0, 0])
    assert feature("groove", broken)[0] == pytest.approx(1 - 3 / 16)
    upbeat = score([60] + [60, 0, 0, 0] * 2, pickup=480)
    assert feature("groove", upbeat)[0] == pytest.approx(1 - 1 / 2 * 2 / 16)  # the pickup's bar alone differs
    assert feature("groove", score([60, 62], meter=None))[0] == 1.0


def test_polyphony_and_empty_beats() -> None:
    piece = Score((Note(0, 960, 60), Note(0, 480, 64, 80, 1), Note(1920, 480, 67)), 2400)
    assert feature("polyphony", piece)[0] == pytest.approx(4 / 3)
    assert feature("empty_beats", piece)[0] == pytest.approx(2 / 5)
    eighths = Score((Note(0, 720, 60),), 1440, Meter(6, 8))
    assert feature("empty_beats", eighths)[0] == pytest.approx(3 / 6)


def test_silence_gives_empty_histograms_and_finite_values() -> None:
    for found, feature_ in zip(measure_piece(Score((), 1920)), FEATURES, strict=True):
        assert np.isfinite(found).all(), feature_.name
        if feature_.is_histogram:
            assert found.sum() == 0.0
