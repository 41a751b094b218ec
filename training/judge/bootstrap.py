"""Ratios of distances, and rates, with bootstrap intervals over pieces."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.judge.distances import jensen_shannon, wasserstein
from training.judge.features import Feature

REPLICATES: Final = 500
_DRAWS: Final = 16
"""Matched subsamples over which one distance is averaged in a replicate."""
_POINT_DRAWS: Final = 1000
_COVERED: Final = (2.5, 97.5)
_SEED: Final = 20_260_101

Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and where 95 % of its bootstrap replicates lie."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Distances of generated and of training music to the same held-out music, and their ratio."""

    generated: float
    real: float
    ratio: Interval


class Bootstrap:
    """Which pieces are compared, the same for every feature.

    A distance between finite samples is too large by what chance does to small samples. So that generated and
    training music are treated alike, both are cut to samples of the size of the smallest of the three sets, drawn
    without replacement, and distances are averaged over many such draws: the ratio compares expected distances of
    equal samples. A replicate draws all three sets anew with replacement and does the same. Its duplicates add
    noise to both distances and pull their ratio towards 1, so the replicates' spread is laid around the estimate,
    on a logarithmic scale.
    """

    def __init__(self, generated: int, training: int, held_out: int, *, replicates: int = REPLICATES) -> None:
        """Draw.

        Args:
            generated: pieces of each set, at least 1.
            training: as above.
            held_out: as above.
            replicates: 0 for the estimate alone; its interval is then empty.
        """
        random = np.random.default_rng(_SEED)
        sizes = (generated, training, held_out)
        self._matched = min(sizes)
        self._point = [self._subsamples(random, np.arange(size), _POINT_DRAWS) for size in sizes]
        resampled = [[random.integers(size, size=size) for size in sizes] for _ in range(replicates)]
        self._replicates = [[self._subsamples(random, pool, _DRAWS) for pool in pools] for pools in resampled]

    @property
    def matched(self) -> int:
        """Pieces on each side of a distance."""
        return self._matched

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
        """(draws, matched): indices from the pool, none of its places twice in a draw."""
        order = random.random((draws, len(pool))).argsort(axis=1)[:, : self._matched]
        return pool[order]


def rate(events: NDArray[np.float64], steps: NDArray[np.float64], *, replicates: int = REPLICATES) -> Interval:
    """Events per 100 steps over all pieces, from each piece's events and steps, (pieces,) each."""
    random = np.random.default_rng(_SEED)
    drawn = random.integers(len(events), size=(replicates, len(events)))
    rates = 100.0 * events[drawn].sum(axis=1) / steps[drawn].sum(axis=1)
    low, high = np.percentile(rates, _COVERED).tolist()
    return Interval(float(100.0 * events.sum() / steps.sum()), low, high)


def _distances(feature: Feature, sets: tuple[NDArray[np.float64], ...], draws: list[Indices]) -> tuple[float, float]:
    """Mean distances (generated to held-out, training to held-out) over the draws, at least the feature's grain."""
    if feature.is_histogram:
        generated, training, held_out = (
            _weights(index, len(rows)) @ rows for rows, index in zip(sets, draws, strict=True)
        )
        pair = jensen_shannon(generated, held_out), jensen_shannon(training, held_out)
    else:
        generated, training, held_out = (rows[index, 0] for rows, index in zip(sets, draws, strict=True))
        pair = wasserstein(generated, held_out), wasserstein(training, held_out)
    near, far = (max(float(distance.mean()), feature.grain) for distance in pair)
    return near, far


def _weights(index: Indices, pieces: int) -> NDArray[np.float64]:
    """(draws, pieces): how often each piece is in each draw."""
    draws = len(index)
    flat = index + pieces * np.arange(draws)[:, None]
    return np.bincount(flat.ravel(), minlength=draws * pieces).reshape(draws, pieces).astype(np.float64)
