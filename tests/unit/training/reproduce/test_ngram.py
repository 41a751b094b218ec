import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.reproduce.ngram import NGram

VOCABULARY = 6

lines = st.lists(st.lists(st.integers(1, VOCABULARY - 1), min_size=1, max_size=12), min_size=1, max_size=4)


@given(lines, st.integers(1, 4), st.data())
def test_probabilities_sum_to_one_after_any_context(pieces: list[list[int]], order: int, data: st.DataObject) -> None:
    context = tuple(data.draw(st.lists(st.integers(0, VOCABULARY - 1), min_size=order - 1, max_size=order - 1)))
    probabilities = NGram(order, VOCABULARY, 0, pieces).probabilities(context)
    assert probabilities.sum() == pytest.approx(1)
    assert (probabilities > 0).all()


def test_the_weights_are_those_of_witten_and_bell() -> None:
    ngram = NGram(2, 4, 0, [[1, 2, 1, 3]])
    uniform = np.full(4, 1 / 4)
    unigram = (np.array([0, 2, 1, 1]) + 3 * uniform) / (4 + 3)
    after_one = (np.array([0, 0, 1, 1]) + 2 * unigram) / (2 + 2)
    assert ngram.probabilities((1,)) == pytest.approx(after_one)
    assert ngram.probabilities((3,)) == pytest.approx(unigram)  # never a context: the shorter one decides


def test_every_token_of_other_pieces_is_charged() -> None:
    ngram = NGram(3, VOCABULARY, 0, [[1, 2, 3, 4]])
    measure = ngram.measure([[1, 2, 3, 4], [5]])
    assert measure.tokens == 5
    assert measure.correct == 4
    contexts = [((0, 0), 1), ((0, 1), 2), ((1, 2), 3), ((2, 3), 4), ((0, 0), 5)]
    assert measure.nats == pytest.approx(-sum(math.log(ngram.probabilities(c)[token]) for c, token in contexts))


def test_a_longer_context_knows_a_repeated_song_better() -> None:
    line = [1, 2, 1, 3, 1, 4, 1, 5] * 6
    losses = [NGram(order, VOCABULARY, 0, [line]).measure([line]).loss for order in (1, 2, 3)]
    assert losses[0] > losses[1] > losses[2]
