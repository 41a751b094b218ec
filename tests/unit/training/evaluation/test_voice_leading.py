import numpy as np

from tests.unit.training.evaluation.scores import score
from training.evaluation.voice_leading import FAULTS, SILENT, faults, ranges, sonorities

WIDE = [(0, 127)] * 4


def counted(*voices: list[int]) -> dict[str, int]:
    return faults(sonorities(score(*voices, ticks=120), len(voices), 120), WIDE[: len(voices)])


def test_parallel_fifths_and_octaves_are_counted_for_each_pair() -> None:
    assert counted([67, 69], [60, 62])["parallel_fifths"] == 1
    assert counted([72, 74], [60, 62])["parallel_octaves"] == 1
    assert counted([60, 62], [60, 62])["parallel_octaves"] == 1  # unisons too
    assert counted([79, 81], [60, 62])["parallel_fifths"] == 1  # a twelfth
    three = counted([72, 74], [67, 69], [60, 62])
    assert (three["parallel_fifths"], three["parallel_octaves"]) == (1, 1)


def test_what_is_no_parallel() -> None:
    nothing = dict.fromkeys(FAULTS, 0)
    assert counted([67, 67], [60, 60]) == nothing  # no voice moves
    assert counted([67, 69], [60, 60]) == nothing  # one moves
    assert counted([67, 65], [60, 62]) == nothing  # contrary motion, away from the fifth
    assert counted([67, 64], [60, 58]) == nothing  # both fall, but from a fifth to a tritone
    assert counted([67, 0, 69], [60, 0, 62]) == nothing  # a rest between
    assert counted([64, 65], [60, 62]) == nothing  # thirds


def test_parallels_are_seen_where_a_voice_holds_on_before() -> None:
    held = score([67, 67, 69], [60, 60, 62], ticks=120)
    assert faults(sonorities(held, 2, 120), WIDE[:2])["parallel_fifths"] == 1


def test_crossings_count_steps_and_ranges_count_voices() -> None:
    assert counted([60, 60, 67], [64, 64, 64])["crossings"] == 2
    narrow = [(60, 70), (40, 50)]
    grid = sonorities(score([59, 60, 71], [45, 51, 0], ticks=120), 2, 120)
    assert faults(grid, narrow)["out_of_range"] == 3


def test_sonorities_and_ranges_are_read_from_notes() -> None:
    piece = score([60, 0, 64], [48], ticks=240)
    np.testing.assert_array_equal(sonorities(piece, 2, 120)[:, 0], [60, 60, SILENT, SILENT, 64, 64])
    assert ranges([piece, score([70], [50])], 2) == [(60, 70), (48, 50)]
