import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from training.evaluation.distances import jensen_shannon, wasserstein

histograms = arrays(np.float64, 6, elements=st.sampled_from([0.0, 0.5, 1.0, 3.0, 10.0]))


def test_known_distances() -> None:
    one, other = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    assert jensen_shannon(one, other) == pytest.approx(1.0)
    halves = np.array([0.5, 0.5])
    middle = np.array([0.75, 0.25])
    divergence = (math.log2(1 / 0.75) + 0.5 * math.log2(0.5 / 0.75) + 0.5 * math.log2(0.5 / 0.25)) / 2
    assert jensen_shannon(one, halves) == pytest.approx(math.sqrt(divergence))
    assert middle.sum() == 1.0
    assert wasserstein(np.array([3.0, 1.0]), np.array([2.0, 6.0])) == pytest.approx((1 + 3) / 2)


@given(histograms, histograms, histograms)
def test_jensen_shannon_is_a_metric_of_shapes(first: np.ndarray, second: np.ndarray, third: np.ndarray) -> None:
    between = float(jensen_shannon(first, second))
    assert between == pytest.approx(float(jensen_shannon(second, first)))
    assert between == pytest.approx(float(jensen_shannon(7 * first, second)), abs=1e-7)
    assert 0.0 <= between <= 1.0
    assert float(jensen_shannon(first, first)) == pytest.approx(0.0, abs=1e-7)
    assert between <= float(jensen_shannon(first, third)) + float(jensen_shannon(third, second)) + 1e-7


def test_many_at_once_are_the_same_as_one_by_one() -> None:
    random = np.random.default_rng(1)
    first, second = random.random((4, 9)), random.random((4, 9))
    for distance in (jensen_shannon, wasserstein):
        np.testing.assert_allclose(
            distance(first, second), [float(distance(a, b)) for a, b in zip(first, second, strict=True)]
        )
