"""Distances between two sets of pieces, many comparisons at once."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def jensen_shannon(first: Floats, second: Floats) -> NDArray[np.float64]:
    """Jensen-Shannon distances (0 to 1) between histograms (..., bins), each scaled to sum to 1.

    The square root of the divergence in bits, which is a metric (Lin, "Divergence measures based on the Shannon
    entropy", 1991; Endres and Schindelin, 2003). An empty histogram is at distance 1 from any other.
    """
    p, q = _scaled(first), _scaled(second)
    middle = (p + q) / 2
    divergence = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2
    both = (p.sum(axis=-1) > 0) & (q.sum(axis=-1) > 0)
    neither = (p.sum(axis=-1) == 0) & (q.sum(axis=-1) == 0)
    distance: NDArray[np.float64] = np.where(both, np.sqrt(np.clip(divergence, 0.0, 1.0)), np.where(neither, 0.0, 1.0))
    return distance


def wasserstein(first: Floats, second: Floats) -> NDArray[np.float64]:
    """First Wasserstein distances between equally many values, (..., n) each, in the unit of the values.

    This is the area between the two cumulative distributions. For sets of equal size it is the mean difference
    between the sorted values.
    """
    distance: NDArray[np.float64] = np.abs(np.sort(first, axis=-1) - np.sort(second, axis=-1)).mean(axis=-1)
    return distance


def _scaled(histogram: Floats) -> NDArray[np.float64]:
    total = histogram.sum(axis=-1, keepdims=True)
    scaled: NDArray[np.float64] = histogram / np.where(total > 0, total, 1.0)
    return scaled


def _relative_entropy(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    positive = p > 0
    ratio = np.where(positive, p, 1.0) / np.where(positive, q, 1.0)
    entropy: NDArray[np.float64] = np.where(positive, p * np.log2(ratio), 0.0).sum(axis=-1)
    return entropy
