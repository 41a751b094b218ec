"""An n-gram model with interpolated Witten-Bell smoothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_UNSEEN: Final = -1
_VALUES_AT_ONCE: Final = 1 << 24
"""Probabilities that `most_probable` holds in memory at once."""


def context_rows(tokens: NDArray[np.integer[Any]], order: int, start_token: int) -> Ints:
    """Each token of a piece with the `order - 1` tokens before it, nearest first: (tokens, order).

    `start_token` stands for what lies before the first token.
    """
    padded = np.concatenate([np.full(order - 1, start_token), tokens])
    columns = [padded[order - 1 - distance : len(padded) - distance] for distance in range(order)]
    return np.stack(columns, axis=1).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class _Level:
    """Counts of the tokens that follow contexts of one length. Contexts are numbered from 0."""

    ngrams: Ints
    """Sorted keys: context * base + token."""
    counts: Ints
    """How often each n-gram occurs."""
    total: NDArray[np.float64]
    """(contexts,): tokens seen after each context."""
    types: Ints
    """(contexts,): different tokens seen after each context."""
    longer: Ints
    """Sorted keys of the next level's contexts: context * base + next value. Empty at the last level."""


class NGram:
    """Predicts a token from its context by counts.

    P(w | h) = (c(h, w) + t(h) P(w | h')) / (c(h) + t(h)), where c counts, t(h) is the number of different tokens seen
    after h, and h' is h without its farthest value (Witten and Bell, "The zero-frequency problem", IEEE Transactions
    on Information Theory 37(4), 1991; interpolated as in Chen and Goodman, 1999). Below the unigram lies the uniform
    distribution, so every token has a probability. A context that was never seen leaves the decision to the
    shorter one.
    """

    def __init__(self, rows: Ints, vocabulary_size: int) -> None:
        """Count.

        Args:
            rows: (n, order) training rows: the token, then its context, nearest value first. Values are at least 0.
            vocabulary_size: number of tokens.
        """
        self._vocabulary_size = vocabulary_size
        self._base = max(int(rows.max()) + 1, vocabulary_size)
        self._levels: list[_Level] = []
        contexts = np.zeros(len(rows), np.int64)
        order = rows.shape[1]
        for length in range(1, order + 1):
            ngrams, counts = np.unique(contexts * self._base + rows[:, 0], return_counts=True)
            size = int(contexts.max()) + 1
            total = np.bincount(ngrams // self._base, weights=counts, minlength=size).astype(np.float64)
            types = np.bincount(ngrams // self._base, minlength=size)
            longer = np.zeros(0, np.int64)
            if length < order:
                longer, contexts = np.unique(contexts * self._base + rows[:, length], return_inverse=True)
            self._levels.append(_Level(ngrams, counts, total, types, longer))

    def probabilities(self, rows: Ints) -> NDArray[np.float64]:
        """Probability of the token of each row (n, order) after its context, (n,)."""
        probability = np.full(len(rows), 1.0 / self._vocabulary_size)
        for level, seen, context in self._matches(rows):
            count = _looked_up(level.ngrams, level.counts, self._keys(context, rows[seen, 0]))
            types, total = level.types[context], level.total[context]
            probability[seen] = (count + types * probability[seen]) / (total + types)
        return probability

    def most_frequent(self, rows: Ints) -> Ints:
        """Token that followed the longest known context of each row most often; of several the lowest, (n,)."""
        guess = np.zeros(len(rows), np.int64)
        for level, seen, context in self._matches(rows):
            tokens, contexts = level.ngrams % self._base, level.ngrams // self._base
            order = np.lexsort((-tokens, level.counts, contexts))
            best = np.zeros(len(level.total), np.int64)
            best[contexts[order]] = tokens[order]  # the last one written stays
            guess[seen] = best[context]
        return guess

    def most_probable(self, rows: Ints) -> Ints:
        """Token with the highest probability after the context of each row; of several the lowest, (n,)."""
        at_once = max(_VALUES_AT_ONCE // self._vocabulary_size, 1)
        parts = [rows[first : first + at_once] for first in range(0, len(rows), at_once)]
        guesses = [self.distribution(part).argmax(axis=1) for part in parts]
        return np.concatenate(guesses) if guesses else np.zeros(0, np.int64)

    def distribution(self, rows: Ints) -> NDArray[np.float64]:
        """Probability of every token after the context of each row, (n, vocabulary)."""
        result = np.full((len(rows), self._vocabulary_size), 1.0 / self._vocabulary_size)
        for level, seen, context in self._matches(rows):
            types = level.types[context]
            first = np.searchsorted(level.ngrams, context * self._base)
            within = np.arange(types.sum()) - np.repeat(np.cumsum(types) - types, types)
            found = np.repeat(first, types) + within  # the n-grams of each row's context, row after row
            counts = np.zeros((len(context), self._vocabulary_size))
            counts[np.repeat(np.arange(len(context)), types), level.ngrams[found] % self._base] = level.counts[found]
            result[seen] = (counts + types[:, None] * result[seen]) / (level.total[context] + types)[:, None]
        return result

    def _matches(self, rows: Ints) -> Iterator[tuple[_Level, NDArray[np.bool_], Ints]]:
        """From the shortest contexts to the longest: the level, which rows know their context, and its number."""
        context = np.zeros(len(rows), np.int64)
        for length, level in enumerate(self._levels, 1):
            seen = context != _UNSEEN
            yield level, seen, context[seen]
            if length < len(self._levels):
                keys = self._keys(context[seen], rows[seen, length])
                context[seen] = _looked_up(level.longer, np.arange(len(level.longer)), keys, missing=_UNSEEN)

    def _keys(self, context: Ints, value: Ints) -> Ints:
        return np.where(value < self._base, context * self._base + value, _UNSEEN)


def _looked_up(keys: Ints, values: Ints, wanted: Ints, missing: int = 0) -> Ints:
    """The value of each wanted key, `missing` where it is not among the sorted keys."""
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found: Ints = np.where(keys[places] == wanted, values[places], missing)
    return found
