"""Resampling of particles: the arithmetic of weights, without knowledge of slots and sequences.

Sequential Monte Carlo, from Doucet and Johansen, "A Tutorial on Particle Filtering and Smoothing" (2009): rows that
write the same request are particles; the probability of each given token weighs them; when the weights have become too
uneven, the rows are replaced by copies in proportion to their weights.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

MIN_EFFECTIVE_SHARE: Final = 0.5
"""Particles are resampled when their effective sample size is below this share of their number."""


def normalised_weights(log_weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return weights (n,) with the sum 1 from their logarithms (n,), of which at least one is above minus infinity."""
    weights = np.exp(log_weights - log_weights.max())
    normalised: NDArray[np.float64] = weights / weights.sum()
    return normalised


def effective_sample_size(weights: NDArray[np.float64]) -> float:
    """Return 1 / sum(w^2) of normalised weights (n,): n if all are equal, 1 if one particle has all the weight."""
    return float(1.0 / np.square(weights).sum())


def systematic_counts(weights: NDArray[np.float64], uniform: float) -> NDArray[np.int64]:
    """Count the copies of each particle in a systematic resampling: n times its weight, rounded up or down.

    Args:
        weights: (n,), normalised.
        uniform: in [0, 1).

    Returns:
        (n,), with the sum n; 0 for every weight of 0.
    """
    count = len(weights)
    points = (np.arange(count) + uniform) / count
    chosen = np.searchsorted(np.cumsum(weights), points, side="right")
    last = np.flatnonzero(weights)[-1]  # the cumulative sum may end below 1
    return np.bincount(np.minimum(chosen, last), minlength=count)


def copies(counts: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return which particle is copied to which place, so that each occurs as often as `counts` (n,) says.

    A particle that survives stays in its place. The sources are ascending, and so are the targets.

    Returns:
        sources (m,) and targets (m,).
    """
    sources = np.repeat(np.arange(len(counts)), np.maximum(counts - 1, 0))
    return sources, np.flatnonzero(counts == 0)


def resampled(log_weights: NDArray[np.float64], draw: float) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
    """Resample particles if their weights are too uneven.

    Args:
        log_weights: (n,), minus infinity for a particle that cannot go on; at least one is finite.
        draw: in [0, 1).

    Returns:
        `copies`; None if the particles stay as they are.
    """
    weights = normalised_weights(log_weights)
    if effective_sample_size(weights) >= MIN_EFFECTIVE_SHARE * len(weights):
        return None
    return copies(systematic_counts(weights, draw))
