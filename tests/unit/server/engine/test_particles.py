import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.particles import copies, effective_sample_size, normalised_weights, resampled, systematic_counts

LOG_WEIGHTS = st.lists(st.just(-math.inf) | st.floats(-50, 0), min_size=1, max_size=70).filter(
    lambda values: max(values) > -math.inf
)
UNIFORM = st.integers(0, 2**24 - 1).map(lambda value: value / 2**24)


def reference_counts(weights: list[float], uniform: float) -> list[int]:
    """Walk along the cumulative weights with one pointer for each of n evenly spaced points."""
    counts, place, cumulative = [0] * len(weights), 0, weights[0]
    last = max(index for index, weight in enumerate(weights) if weight)
    for number in range(len(weights)):
        while place < last and cumulative <= (number + uniform) / len(weights):
            place += 1
            cumulative += weights[place]
        counts[place] += 1
    return counts


@given(log_weights=LOG_WEIGHTS, uniform=UNIFORM)
def test_systematic_counts_equal_a_slow_walk(log_weights: list[float], uniform: float) -> None:
    weights = normalised_weights(np.array(log_weights))
    assert systematic_counts(weights, uniform).tolist() == reference_counts(weights.tolist(), uniform)


@given(log_weights=LOG_WEIGHTS, uniform=UNIFORM)
def test_a_particle_has_its_share_of_copies(log_weights: list[float], uniform: float) -> None:
    weights = normalised_weights(np.array(log_weights))
    counts = systematic_counts(weights, uniform)
    assert counts.sum() == len(weights)
    assert (counts[weights == 0] == 0).all()
    shares = weights * len(weights)
    assert (counts >= np.floor(shares - 1e-9)).all()
    assert (counts <= np.ceil(shares + 1e-9)).all()


@given(log_weights=LOG_WEIGHTS, uniform=UNIFORM)
def test_copies_make_the_counts_and_survivors_stay(log_weights: list[float], uniform: float) -> None:
    counts = systematic_counts(normalised_weights(np.array(log_weights)), uniform)
    sources, targets = copies(counts)
    places = np.arange(len(counts))
    assert (counts[sources] > 1).all()
    places[targets] = sources
    assert np.bincount(places, minlength=len(counts)).tolist() == counts.tolist()
    assert (places[counts > 0] == np.flatnonzero(counts)).all()
    assert (np.diff(sources) >= 0).all()
    assert (np.diff(targets) > 0).all()


def test_the_effective_sample_size_of_known_weights() -> None:
    assert effective_sample_size(np.full(8, 1 / 8)) == pytest.approx(8)
    assert effective_sample_size(np.array([1.0, 0.0, 0.0])) == 1
    assert effective_sample_size(np.array([0.5, 0.5, 0.0, 0.0])) == 2


def test_weights_do_not_overflow() -> None:
    weights = normalised_weights(np.array([-4000.0, -4000.0 + math.log(3), -math.inf]))
    assert weights.tolist() == pytest.approx([0.25, 0.75, 0])


def test_particles_are_resampled_below_half_of_their_number() -> None:
    even = np.log([1.0, 1.0, 1e-300, 1e-300])
    assert resampled(even, 0.5) is None, "the effective sample size is exactly half"
    made = resampled(np.log([1.0, 0.9, 1e-300, 1e-300, 1e-300]), 0.5)
    assert made is not None
    # The points 0.1, 0.3, 0.5 lie in the first share, which is 0.526, and 0.7, 0.9 in the second.
    assert [each.tolist() for each in made] == [[0, 0, 1], [2, 3, 4]]
