import math

import numpy as np
import pytest

from music.tokenizers import GridTokenizer, NoteChordTokenizer
from tests.unit.training.evaluation.scores import encoding, score
from training.evaluation.baselines import ngram_sample, predict_by_ngram, repeat_previous_step, sounding_repeat_accuracy

GRID = GridTokenizer(voices=1, lowest_pitch=60, highest_pitch=64)
A, B, HOLD, REST, END = 4, 5, 3, 2, 1


def test_repeating_holds_sounding_voices_and_rests_silent_ones() -> None:
    piece = encoding(A, HOLD, HOLD, A, REST, REST, B, END)
    prediction = repeat_previous_step(GRID, [piece])
    assert prediction.correct == 3  # two holds, the second rest; never an onset, never the end
    assert prediction.onsets_correct == 0
    assert prediction.nats is None
    # The repeated A also counts if only the sounding pitch is compared.
    assert sounding_repeat_accuracy(GRID, [piece]) == pytest.approx(4 / 8)


def test_of_a_large_corpus_some_pieces_are_counted() -> None:
    pieces = [encoding(*[A] * 9, END) for _ in range(20)]
    assert ngram_sample(pieces) == pieces
    few = ngram_sample(pieces, max_tokens=55)
    assert [next(place for place, piece in enumerate(pieces) if piece is one) for one in few] == [0, 5, 10, 14, 19]
    assert len(ngram_sample(pieces, max_tokens=1)) == 1


def test_witten_bell_is_the_formula_written_out() -> None:
    """Bigrams with a single metrical position and no transpositions: the tokens are chords."""
    chords = NoteChordTokenizer(names=["C4", "D4", "E4"])
    c, d = 2, 3
    prediction = predict_by_ngram(chords, [encoding(c, d, c, c, 1)], [encoding(c, d, 1)], order=2)
    size = chords.vocabulary_size
    uniform = 1 / size
    unigram = {token: (count + 3 * uniform) / (5 + 3) for token, count in {c: 3, d: 1, 1: 1}.items()}
    # The only position repeats the counts of the unigram.
    with_position = {token: (count + 3 * unigram[token]) / (5 + 3) for token, count in {c: 3, d: 1, 1: 1}.items()}
    after_start = (1 + 1 * with_position[c]) / (1 + 1)
    after_c = (1 + 3 * with_position[d]) / (3 + 3)
    after_d = (0 + 1 * with_position[1]) / (1 + 1)
    assert prediction.nats == pytest.approx(-math.log(after_start * after_c * after_d))


def test_an_ngram_gives_a_distribution() -> None:
    chords = NoteChordTokenizer(names=["C4", "D4", "E4"])
    training = [encoding(2, 3, 4, 2, 3, 3, 1), encoding(4, 4, 2, 1)]
    total = 0.0
    for token in range(chords.vocabulary_size):
        both = predict_by_ngram(chords, training, [encoding(2, token)], order=3).nats
        first = predict_by_ngram(chords, training, [encoding(2)], order=3).nats
        assert both is not None
        assert first is not None
        total += math.exp(first - both)
    assert total == pytest.approx(1.0)


def test_an_ngram_knows_training_pieces_in_any_key() -> None:
    scale = GridTokenizer(voices=1, lowest_pitch=48, highest_pitch=79)
    known = scale.encode(score([60, 62, 64, 60] * 4))
    same = scale.encode(score([62, 64, 66, 62] * 4))
    other = scale.encode(score([60, 71, 61, 70] * 4))
    near, far = (predict_by_ngram(scale, [known], [piece]) for piece in (same, other))
    assert near.nats is not None
    assert far.nats is not None
    assert near.nats < far.nats / 2
    assert near.onsets_correct > far.onsets_correct
    assert near.correct <= len(same.tokens)


def test_unseen_tokens_have_a_finite_cost() -> None:
    unseen = predict_by_ngram(GRID, [encoding(A, HOLD, END)], [encoding(8, 8, 8, END)])
    assert unseen.nats is not None
    assert np.isfinite(unseen.nats)
