"""What a model must beat: repeating the step before, and counting n-grams."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from music.tokenizers import Encoding, GridTokenizer, Tokenizer
from music.tokenizers.grid import FIRST_PITCH, HOLD, REST
from training.judge.onsets import onset_tokens

ORDER: Final = 8
"""Tokens of an n-gram, the predicted one included."""
_TRANSPOSE: Final = (-6, 5)
_UNSEEN: Final = -1


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a baseline made of some pieces, every token charged, the ends too."""

    correct: int
    """Tokens that it would have guessed."""
    onsets_correct: int
    """Those of them that begin a note."""
    nats: float | None = None
    """Negative log-likelihood of all tokens; None where it gives no probabilities."""


def copy_previous_step(tokenizer: GridTokenizer, encodings: Sequence[Encoding]) -> Prediction:
    """Every voice goes on as in the step before: a sounding one holds, a silent one rests.

    It never guesses an onset or the end. That it is right so often is why raw accuracy says little.
    """
    correct = 0
    for encoding in encodings:
        steps = encoding.tokens[:-1].reshape(-1, tokenizer.voices)
        sounds = np.zeros(steps.shape, np.bool_)
        sounds[1:] = steps[:-1] != REST
        correct += int((steps == np.where(sounds, HOLD, REST)).sum())
    return Prediction(correct, 0)


def sounding_copy_accuracy(tokenizer: GridTokenizer, encodings: Sequence[Encoding]) -> float:
    """Share of voices x steps (and ends) whose sounding pitch is that of the step before.

    It forgives a note struck again, which the tokens tell from a held one: the easier figure that is often quoted.
    """
    same, total = 0, 0
    for encoding in encodings:
        steps = encoding.tokens[:-1].reshape(-1, tokenizer.voices)
        pitches = _sounding(steps)
        same += int((pitches[1:] == pitches[:-1]).sum())
        total += steps.size + 1
    return same / total


def witten_bell(
    tokenizer: Tokenizer, training: Sequence[Encoding], held_out: Sequence[Encoding], order: int = ORDER
) -> Prediction:
    """An n-gram model with interpolated Witten-Bell smoothing.

    It knows the `order - 1` tokens before, is told what a listener knows without bar lines (the voice and the place
    in the quarter) as the nearest part of its context, and learns from every transposition of a training piece
    between -6 and 5 semitones that the tokenizer can write.

    P(w | h) = (c(h, w) + t(h) P(w | h')) / (c(h) + t(h)), where t(h) is the number of different tokens seen after h
    and h' is h without its farthest token (Witten and Bell, "The zero-frequency problem", IEEE Transactions on
    Information Theory 37(4), 1991; interpolated as in Chen and Goodman, 1999).
    """
    known = np.concatenate([_contexts(tokenizer, encoding, order) for encoding in _transposed(tokenizer, training)])
    asked = np.concatenate([_contexts(tokenizer, encoding, order) for encoding in held_out])
    probability = np.full(len(asked), 1.0 / tokenizer.vocabulary_size)
    guess = np.zeros(len(asked), np.int64)
    base = int(max(known.max(), asked.max())) + 1
    history = np.zeros(len(known), np.int64)  # the context's number, among those of its length
    asked_history = np.zeros(len(asked), np.int64)
    for length in range(1, order + 2):  # the clock counts as one
        ngrams, counts = np.unique(history * base + known[:, 0], return_counts=True)
        contexts = ngrams // base
        size = int(history.max()) + 1
        total = np.bincount(contexts, weights=counts, minlength=size)
        types = np.bincount(contexts, minlength=size)
        seen = asked_history != _UNSEEN
        where = asked_history[seen]
        count = _looked_up(ngrams, counts, where * base + asked[seen, 0])
        probability[seen] = (count + types[where] * probability[seen]) / (total[where] + types[where])
        guess[seen] = _likeliest(ngrams % base, counts, contexts, size)[where]
        if length <= order:
            keys, history = np.unique(history * base + known[:, length], return_inverse=True)
            asked_history[seen] = _looked_up(
                keys, np.arange(len(keys)), where * base + asked[seen, length], missing=_UNSEEN
            )
    right = guess == asked[:, 0]
    starts_note = onset_tokens(tokenizer)[asked[:, 0]]
    return Prediction(int(right.sum()), int((right & starts_note).sum()), float(-np.log(probability).sum()))


def _sounding(steps: NDArray[np.int32]) -> NDArray[np.int32]:
    """(steps, voices) tokens as what sounds: a pitch's token where it is held too, REST in silence."""
    sounding = steps.copy()
    for index in range(1, len(steps)):
        sounding[index] = np.where(steps[index] == HOLD, sounding[index - 1], steps[index])
    assert ((sounding >= FIRST_PITCH) | (sounding == REST)).all()
    return sounding


def _transposed(tokenizer: Tokenizer, encodings: Sequence[Encoding]) -> list[Encoding]:
    low, high = _TRANSPOSE
    result = []
    for encoding in encodings:
        shifts = tokenizer.shifts(encoding.tokens)
        for shift in range(max(low, shifts.start), min(high + 1, shifts.stop)):
            tokens = tokenizer.shifted(encoding.tokens, shift)
            result.append(Encoding(tokens, encoding.clock_start, encoding.unmetered_start))
    return result


def _contexts(tokenizer: Tokenizer, encoding: Encoding, order: int) -> NDArray[np.int64]:
    """(tokens, 1 + order): each token, its place on the clock, then the tokens before it, nearest first."""
    tokens = encoding.tokens
    padded = np.concatenate([np.full(order - 1, tokenizer.start_token), tokens])
    clock = tokenizer.clock.rows(encoding.unmetered_start, len(tokens))
    before = [padded[order - 1 - distance : len(padded) - distance] for distance in range(1, order)]
    return np.stack([tokens, clock, *before], axis=1).astype(np.int64)


def _looked_up(
    keys: NDArray[np.int64], values: NDArray[np.int64], wanted: NDArray[np.int64], missing: int = 0
) -> NDArray[np.int64]:
    """The value of each wanted key, `missing` where it is not among the sorted keys."""
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found: NDArray[np.int64] = np.where(keys[places] == wanted, values[places], missing)
    return found


def _likeliest(
    tokens: NDArray[np.int64], counts: NDArray[np.int64], contexts: NDArray[np.int64], size: int
) -> NDArray[np.int64]:
    """(contexts,): the token that followed each context most often, of several the lowest."""
    order = np.lexsort((-tokens, counts, contexts))
    best = np.zeros(size, np.int64)
    best[contexts[order]] = tokens[order]  # the last one written stays
    return best
