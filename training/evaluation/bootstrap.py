"""Ratios of distances, and rates, with bootstrap intervals over pieces."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.evaluation.distances import jensen_shannon, wasserstein
from training.evaluation.features import Feature

REPLICATES: Final = 500
_DRAWS: Final = 16
"""Subsets over which a replicate averages one distance."""
_POINT_DRAWS: Final = 1000
_COVERED: Final = (2.5, 97.5)
_SEED: Final = 20_260_101

Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Distances of generated and of training music to the same held-out music, and their ratio."""

    generated: float
    training: float
    ratio: Interval


class Bootstrap:
    """Subsets of the pieces over which distances are averaged. All features use the same subsets.

    A distance between finite samples is biased upwards, more so for small samples. So both distances are between
    sets of the same size: that of the smallest of the three sets. Subsets are drawn without replacement, and the
    distances are averaged over many of them. A bootstrap replicate first resamples all three sets with replacement.
    Its duplicates add noise to both distances and pull their ratio towards 1. So the interval is the spread of the
    replicates around their median, moved to the estimate on a logarithmic scale.
    """

    def __init__(self, generated: int, training: int, held_out: int, *, replicates: int = REPLICATES) -> None:
        """Draw the subsets.

        Args:
            generated: number of pieces, at least 1.
            training: number of pieces, at least 1.
            held_out: number of pieces, at least 1.
            replicates: 0 for the estimate alone; its interval then has no width.
        """
        random = np.random.default_rng(_SEED)
        sizes = (generated, training, held_out)
        self._pieces_per_set = min(sizes)
        self._point = [self._subsamples(random, np.arange(size), _POINT_DRAWS) for size in sizes]
        resampled = [[random.integers(size, size=size) for size in sizes] for _ in range(replicates)]
        self._replicates = [[self._subsamples(random, pool, _DRAWS) for pool in pools] for pools in resampled]

    @property
    def pieces_per_set(self) -> int:
        """Pieces on each side of a distance."""
        return self._pieces_per_set

    def compare(
        self,
        feature: Feature,
        generated: NDArray[np.float64],
        training: NDArray[np.float64],
        held_out: NDArray[np.float64],
    ) -> Comparison:
        """Compare one feature, (pieces, bins) of each set."""
        sets = (generated, training, held_out)
        near, far = _distances(feature, sets, self._point)
        ratio = near / far
        low = high = ratio
        if self._replicates:
            pairs = np.array([_distances(feature, sets, draws) for draws in self._replicates])
            spread = np.percentile(pairs[:, 0] / pairs[:, 1], (*_COVERED, 50.0))
            low, high = (ratio * spread[:2] / spread[2]).tolist()
        return Comparison(near, far, Interval(ratio, low, high))

    def _subsamples(self, random: np.random.Generator, pool: Indices, draws: int) -> Indices:
        """(draws, pieces per set): indices from the pool, drawn without replacement."""
        order = random.random((draws, len(pool))).argsort(axis=1)[:, : self._pieces_per_set]
        return pool[order]


def rate_per_100(events: NDArray[np.float64], steps: NDArray[np.float64], *, replicates: int = REPLICATES) -> Interval:
    """Events per 100 steps over all pieces, from the events and steps of each piece, (pieces,) each."""
    return ratio_of_sums(100.0 * events, steps, replicates=replicates)


def ratio_of_sums(
    values: NDArray[np.float64], counts: NDArray[np.float64], *, replicates: int = REPLICATES
) -> Interval:
    """Sum of the values divided by the sum of the counts, from those of each piece, (pieces,) each."""
    random = np.random.default_rng(_SEED)
    drawn = random.integers(len(values), size=(replicates, len(values)))
    ratios = values[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(ratios, _COVERED).tolist()
    return Interval(float(values.sum() / counts.sum()), low, high)


def _distances(feature: Feature, sets: tuple[NDArray[np.float64], ...], draws: list[Indices]) -> tuple[float, float]:
    """Mean distances (generated to held-out, training to held-out) over the draws, at least the minimum distance."""
    if feature.is_histogram:
        generated, training, held_out = (
            _weights(index, len(rows)) @ rows for rows, index in zip(sets, draws, strict=True)
        )
        pair = jensen_shannon(generated, held_out), jensen_shannon(training, held_out)
    else:
        generated, training, held_out = (rows[index, 0] for rows, index in zip(sets, draws, strict=True))
        pair = wasserstein(generated, held_out), wasserstein(training, held_out)
    near, far = (max(float(distance.mean()), feature.min_distance) for distance in pair)
    return near, far


def _weights(index: Indices, pieces: int) -> NDArray[np.float64]:
    """(draws, pieces): how often each draw holds each piece."""
    draws = len(index)
    flat = index + pieces * np.arange(draws)[:, None]
    return np.bincount(flat.ravel(), minlength=draws * pieces).reshape(draws, pieces).astype(np.float64)
