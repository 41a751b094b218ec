import numpy as np
import pytest

from training.evaluation.two_sample import SEEDS, rounds, two_sample_accuracies

PIECES = 40


def drawn(seed: int, shift: float = 0.0, count: int = PIECES) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, size=(count, 4))


@pytest.mark.slow
def test_sets_that_differ_are_told_apart_and_others_are_not() -> None:
    real, alike, other = drawn(0), drawn(1, count=3 * PIECES), drawn(2, shift=2.0)
    same = two_sample_accuracies(real, [alike] * 3, trees=20)
    different = two_sample_accuracies(real, [other] * 3, trees=20)
    assert len(same) == len(different) == len(SEEDS)
    assert np.mean(same) < 0.65
    assert min(different) > 0.9
    assert len(set(same)) > 1, "each seed draws other pieces and grows another forest"
    assert two_sample_accuracies(real, [alike] * 3, trees=20) == same


def test_each_seed_has_samples_of_its_own() -> None:
    samples = np.arange(10.0)[:, None]
    assert [part[:, 0].tolist() for part in rounds(samples, 3)] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert [part[:, 0].tolist() for part in rounds(samples, 5)] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [0, 1, 2, 3, 4]]
    assert [len(part) for part in rounds(samples, 20)] == [10] * 3
