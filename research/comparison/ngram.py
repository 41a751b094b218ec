"""The n-gram of a comparison: scored with the grammar's mask, as the networks are."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from music.score import Score
from music.tokenizers import Tokenizer
from training.evaluation.baselines import MAX_NGRAM_TOKENS
from training.evaluation.likelihood import LikelihoodTotals, MeterMode, score_pieces
from training.evaluation.ngram import NGram, context_rows
from training.loop.tbptt import EncodedPiece

ORDERS: Final = (3, 4, 5, 6)
"""Tokens of the n-grams that are tried, the predicted one included."""


class NGramScorer:
    """Log-probabilities of an n-gram, in place of a network's logits."""

    tokens_at_once: Final = 16_384

    def __init__(self, model: NGram, tokenizer: Tokenizer, order: int) -> None:
        self._model = model
        self._start = tokenizer.start_token
        self.order = order

    def logits(
        self,
        pieces: Sequence[NDArray[np.integer[Any]]],
        first_positions: Sequence[int],
        remaining: Sequence[int] | None = None,
        /,
    ) -> list[NDArray[np.float32]]:
        """See `runtime.scorer.Scorer.logits`."""
        rows = [context_rows(tokens, self.order, self._start) for tokens in pieces]
        return [np.log(self._model.distribution(part)).astype(np.float32) for part in rows]


def best_ngram(
    tokenizer: Tokenizer, pieces: Sequence[EncodedPiece], valid: Sequence[Score], transpose: tuple[int, int]
) -> NGramScorer:
    """The n-gram of the order with the lowest loss on the validation pieces.

    It counts about `MAX_NGRAM_TOKENS` of the training tokens, in all transpositions that the networks see.
    """
    counted = list(_transposed(tokenizer, _sample(pieces), transpose))

    def fitted(order: int) -> NGramScorer:
        rows = np.concatenate([context_rows(tokens, order, tokenizer.start_token) for tokens in counted])
        return NGramScorer(NGram(rows, tokenizer.vocabulary_size), tokenizer, order)

    best = min(ORDERS, key=lambda order: ngram_likelihood(fitted(order), tokenizer, valid).nats)
    return fitted(best)


def ngram_likelihood(scorer: NGramScorer, tokenizer: Tokenizer, scores: Sequence[Score]) -> LikelihoodTotals:
    """The likelihood of pieces, with the grammar's mask."""
    return score_pieces(scorer, tokenizer, scores, MeterMode.GIVEN)


def _sample(pieces: Sequence[EncodedPiece]) -> list[EncodedPiece]:
    """All pieces, or as many of them, evenly chosen, as have about `MAX_NGRAM_TOKENS`."""
    share = min(1.0, MAX_NGRAM_TOKENS / sum(len(piece.tokens) for piece in pieces))
    return [pieces[index] for index in np.linspace(0, len(pieces) - 1, max(1, int(share * len(pieces)))).astype(int)]


def _transposed(
    tokenizer: Tokenizer, pieces: Sequence[EncodedPiece], transpose: tuple[int, int]
) -> Iterator[NDArray[np.int32]]:
    low, high = transpose
    for piece in pieces:
        shifts = tokenizer.transpositions(piece.tokens)
        for shift in range(max(low, shifts.start), min(high + 1, shifts.stop)):
            yield tokenizer.transposed(piece.tokens, shift)
