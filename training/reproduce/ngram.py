"""An n-gram over tokens: what a table of counts predicts, for a network to be measured against."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from training.reproduce.results import Measure

ORDERS = (1, 2, 3, 4, 5)


class NGram:
    """Counts of what followed each context, interpolated from the longest to none.

    Witten and Bell's weights (1991): a context that was followed by many different tokens trusts the shorter
    one more. Below the unigram lies the uniform distribution, so that every token has a probability.
    """

    def __init__(self, order: int, vocabulary: int, start_token: int, pieces: Iterable[Sequence[int]]) -> None:
        self.order = order
        self._vocabulary = vocabulary
        self._padding = [start_token] * (order - 1)
        self._counts: list[dict[tuple[int, ...], dict[int, int]]] = [
            defaultdict(lambda: defaultdict(int)) for _ in range(order)
        ]
        for context, token in self._places(pieces):
            for length, counts in enumerate(self._counts):
                counts[context[order - 1 - length :]][token] += 1

    def _places(self, pieces: Iterable[Sequence[int]]) -> Iterable[tuple[tuple[int, ...], int]]:
        """Each token with the `order - 1` tokens before it."""
        for piece in pieces:
            tokens = [*self._padding, *piece]
            for index in range(self.order - 1, len(tokens)):
                yield tuple(tokens[index - self.order + 1 : index]), tokens[index]

    def probabilities(self, context: tuple[int, ...]) -> NDArray[np.float64]:
        """Of every token (vocabulary,) after a context of `order - 1` tokens."""
        result = np.full(self._vocabulary, 1 / self._vocabulary)
        for length, counts in enumerate(self._counts):
            followers = counts.get(context[self.order - 1 - length :])
            if followers is None:
                break
            result *= len(followers)
            result[list(followers.keys())] += list(followers.values())
            result /= sum(followers.values()) + len(followers)
        return result

    def measure(self, pieces: Iterable[Sequence[int]]) -> Measure:
        """What the counts make of other pieces."""
        nats, correct, tokens = 0.0, 0, 0
        for context, token in self._places(pieces):
            probabilities = self.probabilities(context)
            nats -= float(np.log(probabilities[token]))
            correct += int(probabilities.argmax() == token)
            tokens += 1
        return Measure(nats=nats, correct=correct, tokens=tokens)
