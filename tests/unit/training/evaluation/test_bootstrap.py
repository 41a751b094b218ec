import numpy as np
import pytest

from training.evaluation.bootstrap import Bootstrap, rate_per_100
from training.evaluation.features import FEATURES

BY_NAME = {feature.name: feature for feature in FEATURES}


def figures(random: np.random.Generator, mean: float, pieces: int) -> np.ndarray:
    return random.normal(mean, 4.0, (pieces, 1))


def test_music_like_the_training_music_is_at_ratio_1_whatever_the_number_of_samples() -> None:
    """Sets of unequal size would make the larger one look nearer; sets of equal size do not."""
    near, far = [], []
    for seed in range(24):
        random = np.random.default_rng(seed)
        training, held_out = figures(random, 30.0, 60), figures(random, 30.0, 40)
        generated = figures(random, 30.0, 400)
        bootstrap = Bootstrap(400, 60, 40, replicates=0)
        assert bootstrap.pieces_per_set == 40
        found = bootstrap.compare(BY_NAME["range"], generated, training, held_out)
        near.append(found.generated)
        far.append(found.training)
    assert sum(near) / sum(far) == pytest.approx(1.0, abs=0.1)


def test_different_music_is_farther_and_the_interval_excludes_1() -> None:
    random = np.random.default_rng(3)
    training, held_out, generated = figures(random, 30.0, 60), figures(random, 30.0, 40), figures(random, 40.0, 200)
    found = Bootstrap(200, 60, 40, replicates=100).compare(BY_NAME["range"], generated, training, held_out)
    assert found.generated == pytest.approx(10.0, abs=2.0)
    assert found.ratio.low > 2.0
    assert found.ratio.low <= found.ratio.value <= found.ratio.high


def test_different_histograms_have_a_high_ratio() -> None:
    random = np.random.default_rng(4)
    even, skewed = np.ones(49) / 49, np.arange(49) / np.arange(49).sum()
    training, held_out = random.multinomial(50, even, 30) / 50, random.multinomial(50, even, 30) / 50
    generated = random.multinomial(50, skewed, 60) / 50
    bootstrap = Bootstrap(60, 30, 30, replicates=50)
    found = bootstrap.compare(BY_NAME["interval"], generated, training, held_out)
    assert found.ratio.low > 1.5
    again = Bootstrap(60, 30, 30, replicates=50).compare(BY_NAME["interval"], generated, training, held_out)
    assert again == found


def test_equal_music_has_ratio_1() -> None:
    same = np.ones((5, 1))
    found = Bootstrap(5, 5, 5, replicates=10).compare(BY_NAME["polyphony"], same, same, same)
    assert (found.ratio.value, found.ratio.low, found.ratio.high) == (1.0, 1.0, 1.0)


def test_a_rate_counts_all_steps_together() -> None:
    found = rate_per_100(np.array([1.0, 0.0, 5.0]), np.array([100.0, 100.0, 400.0]))
    assert found.value == pytest.approx(1.0)
    assert found.low < 1.0 < found.high
