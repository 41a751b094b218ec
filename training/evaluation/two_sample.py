"""Classifier two-sample test: how well a random forest tells two sets of pieces apart.

At 50 % the sets cannot be told apart by the features of `training.evaluation.features`; at 100 % every piece gives
itself away (Lopez-Paz and Oquab, "Revisiting classifier two-sample tests", ICLR 2017).
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

TREES: Final = 500
FOLDS: Final = 10
SEEDS: Final = (0, 1, 2)
MIN_PIECES: Final = 10
"""Pieces of each set without which there is no test."""

Features = NDArray[np.float64]
"""(pieces, features)."""


def two_sample_accuracies(
    real: Features, others: Sequence[Features], *, threads: int = 1, trees: int = TREES
) -> tuple[float, ...]:
    """Accuracy of the forest for each of `SEEDS`, cross-validated over all pieces.

    Each seed draws as many pieces of the larger set, without replacement, as the smaller one has.

    Args:
        real: features of at least `MIN_PIECES` pieces.
        others: the same of the other set, for each seed.
        threads: CPU threads.
        trees: number of trees of a forest.
    """
    accuracies = []
    for seed, other in zip(SEEDS, others, strict=True):
        count = min(len(real), len(other))
        sets = _drawn(real, count, seed), _drawn(other, count, seed)
        accuracies.append(_accuracy(*sets, seed, threads=threads, trees=trees))
    return tuple(accuracies)


def rounds(features: Features, prompts: int) -> list[Features]:
    """The features of samples, divided into one part for each of `SEEDS`.

    Sample i has the length and meter of real piece `i % prompts`. A part has each of them once, if there are enough
    samples; else all samples are in every part.
    """
    count = min(prompts, len(features))
    whole = len(features) // count
    return [features[seed % whole * count :][:count] for seed in SEEDS]


def _drawn(features: Features, count: int, seed: int) -> Features:
    if len(features) == count:
        return features
    return features[np.random.default_rng(seed).permutation(len(features))[:count]]


def _accuracy(first: Features, second: Features, seed: int, *, threads: int, trees: int) -> float:
    # scikit-learn takes a second to import, and only this needs it.
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    values = np.concatenate([first, second])
    labels = np.repeat([0, 1], [len(first), len(second)])
    forest = RandomForestClassifier(trees, random_state=seed, n_jobs=threads)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    correct: NDArray[np.float64] = cross_val_score(forest, values, labels, cv=folds)
    return float(correct.mean())
