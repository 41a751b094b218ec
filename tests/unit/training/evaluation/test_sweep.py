"""The sweep over sampling parameters."""

import pytest

from music.bundle import Bundle
from tests.unit.training.evaluation.scores import sweep as made_up_sweep
from training.corpus.store import Corpus
from training.evaluation.sweep import best_point, run_sweep


@pytest.mark.slow
def test_a_sweep_chooses_the_point_of_the_lowest_excess(small: Bundle, corpus: Corpus) -> None:
    result = run_sweep(small, corpus, samples=2, threads=1, temperatures=(0.7, 1.2), top_ps=(0.9, 1.0), top_ks=(0,))
    assert len(result.points) == 4
    assert len({point.sampling for point in result.points}) == 4
    assert result.best == best_point(result.points).sampling
    assert all(point.excess >= 0.0 for point in result.points)
    assert len({point.excess for point in result.points}) > 1


@pytest.mark.parametrize("fault", ["repetition_share", "memorisation_share"])
def test_points_with_repetition_or_memorisation_are_not_chosen(fault: str) -> None:
    sound, least = made_up_sweep().points
    assert best_point([sound, least]) == least
    faulty = [point.model_copy(update={fault: 0.02}) for point in (sound, least)]
    assert best_point([sound, faulty[1]]) == sound
    assert best_point(faulty) == faulty[1], "if all points are faulty, the lowest excess counts"
