import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.ngram import NGram, context_rows

VOCABULARY = 6
START = 0

pieces = st.lists(st.lists(st.integers(1, VOCABULARY - 1), min_size=1, max_size=12), min_size=1, max_size=4)


def rows(order: int, pieces: Sequence[Sequence[int]]) -> np.ndarray:
    return np.concatenate([context_rows(np.array(piece), order, START) for piece in pieces])


class Tables:
    """The same model as nested dictionaries, one token after the other."""

    def __init__(self, order: int, training: Sequence[Sequence[int]]) -> None:
        self.order = order
        self.counts: dict[tuple[int, ...], dict[int, int]] = defaultdict(lambda: defaultdict(int))
        for token, *context in rows(order, training).tolist():
            for length in range(order):
                self.counts[tuple(context[:length])][token] += 1

    def known(self, context: Sequence[int]) -> list[dict[int, int]]:
        """What followed each known part of the context, from none of it to the longest."""
        found = []
        for length in range(self.order):
            if (part := tuple(context[:length])) not in self.counts:
                break
            found.append(self.counts[part])
        return found

    def distribution(self, context: Sequence[int]) -> np.ndarray:
        result = np.full(VOCABULARY, 1 / VOCABULARY)
        for followers in self.known(context):
            result *= len(followers)
            result[list(followers)] += list(followers.values())
            result /= sum(followers.values()) + len(followers)
        return result

    def most_frequent(self, context: Sequence[int]) -> int:
        followers = self.known(context)[-1]
        return min(followers, key=lambda token: (-followers[token], token))


@given(pieces, pieces, st.integers(1, 5))
def test_the_model_agrees_with_counts_in_dictionaries(
    training: list[list[int]], held_out: list[list[int]], order: int
) -> None:
    model, tables, predicted = NGram(rows(order, training), VOCABULARY), Tables(order, training), rows(order, held_out)
    distributions = np.array([tables.distribution(context) for _, *context in predicted.tolist()])
    np.testing.assert_array_equal(
        model.probabilities(predicted), distributions[np.arange(len(predicted)), predicted[:, 0]]
    )
    np.testing.assert_array_equal(model.most_probable(predicted), distributions.argmax(axis=1))
    frequent = [tables.most_frequent(context) for _, *context in predicted.tolist()]
    np.testing.assert_array_equal(model.most_frequent(predicted), frequent)


@given(pieces, st.integers(1, 4), st.data())
def test_probabilities_sum_to_one_after_any_context(training: list[list[int]], order: int, data: st.DataObject) -> None:
    context = data.draw(st.lists(st.integers(0, VOCABULARY - 1), min_size=order - 1, max_size=order - 1))
    predicted = np.array([[token, *context] for token in range(VOCABULARY)])
    probabilities = NGram(rows(order, training), VOCABULARY).probabilities(predicted)
    assert probabilities.sum() == pytest.approx(1)
    assert (probabilities > 0).all()


def test_the_weights_are_those_of_witten_and_bell() -> None:
    model = NGram(rows(2, [[1, 2, 1, 3]]), 4)
    uniform = np.full(4, 1 / 4)
    unigram = (np.array([0, 2, 1, 1]) + 3 * uniform) / (4 + 3)
    after_one = (np.array([0, 0, 1, 1]) + 2 * unigram) / (2 + 2)
    assert model.probabilities(np.array([[token, 1] for token in range(4)])) == pytest.approx(after_one)
    unknown = np.array([[token, 3] for token in range(4)])  # nothing followed 3: the shorter context decides
    assert model.probabilities(unknown) == pytest.approx(unigram)


def test_a_longer_context_predicts_a_repeated_piece_better() -> None:
    piece = [1, 2, 1, 3, 1, 4, 1, 5] * 6
    losses = [
        -np.log(NGram(rows(order, [piece]), VOCABULARY).probabilities(rows(order, [piece]))).sum()
        for order in (1, 2, 3)
    ]
    assert losses[0] > losses[1] > losses[2]


def test_context_values_that_were_never_seen_are_unknown_contexts() -> None:
    model = NGram(rows(2, [[1, 2, 1, 3]]), 4)
    (probability,) = model.probabilities(np.array([[1, 99]]))
    assert math.isclose(probability, (2 + 3 / 4) / (4 + 3))


def test_context_rows_pad_the_start_of_a_piece() -> None:
    assert context_rows(np.array([5, 4, 3]), 3, START).tolist() == [[5, 0, 0], [4, 5, 0], [3, 4, 5]]
