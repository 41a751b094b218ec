"""Baselines that a model must beat: repeat the previous step, and an n-gram."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from music.tokenizers import Encoding, GridTokenizer, Tokenizer
from music.tokenizers.grid_vocabulary import FIRST_PITCH, HOLD, REST
from training.evaluation.likelihood import LikelihoodTotals
from training.evaluation.ngram import NGram, context_rows
from training.evaluation.pieces import onset_tokens
from training.evaluation.record import Baseline

ORDER: Final = 8
"""Tokens of an n-gram, the predicted one included."""
MAX_NGRAM_TOKENS: Final = 1_000_000
"""Training tokens that an n-gram counts, each in up to twelve keys: about a minute, and 4 GB of memory."""
_TRANSPOSE: Final = (-6, 5)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Totals of a baseline over some pieces. Every token counts, the end tokens too."""

    correct: int
    """Tokens that it predicts."""
    onsets_correct: int
    """Of these, tokens that begin a note."""
    nats: float | None = None
    """Negative log-likelihood of all tokens. None if the baseline gives no probabilities."""


def evaluate_baselines(
    tokenizer: Tokenizer, training: Sequence[Encoding], held_out: Sequence[Encoding], model: LikelihoodTotals
) -> list[Baseline]:
    """Measure the baselines on the held-out pieces that `model` was measured on."""
    tokens, note_steps = model.tokens, model.steps * model.tokens_per_step

    def baseline(name: str, prediction: Prediction) -> Baseline:
        return Baseline(
            name=name,
            nats_per_note_step=None if prediction.nats is None else prediction.nats / note_steps,
            accuracy=prediction.correct / tokens,
            onset_accuracy=prediction.onsets_correct / model.onsets if model.onsets else None,
        )

    baselines = []
    if isinstance(tokenizer, GridTokenizer):
        baselines += [
            baseline("repeat the previous step", repeat_previous_step(tokenizer, held_out)),
            Baseline(
                name="repeat the previous step, sounding pitch only",
                nats_per_note_step=None,
                accuracy=sounding_repeat_accuracy(tokenizer, held_out),
                onset_accuracy=None,
            ),
        ]
    return [*baselines, baseline(f"{ORDER}-gram, Witten-Bell", predict_by_ngram(tokenizer, training, held_out))]


def ngram_sample(encodings: Sequence[Encoding], max_tokens: int = MAX_NGRAM_TOKENS) -> list[Encoding]:
    """The encodings, or as many of them, evenly chosen, as have about `max_tokens` tokens."""
    share = max_tokens / max(sum(len(encoding.tokens) for encoding in encodings), 1)
    count = max(1, int(share * len(encodings)))
    if count >= len(encodings):
        return list(encodings)
    return [encodings[index] for index in np.linspace(0, len(encodings) - 1, count).round().astype(int)]


def repeat_previous_step(tokenizer: GridTokenizer, encodings: Sequence[Encoding]) -> Prediction:
    """Every voice continues the previous step: a sounding voice holds, a silent voice rests.

    It never predicts an onset or the end. It is right so often that accuracy over all tokens says little.
    """
    correct = 0
    for encoding in encodings:
        steps = encoding.tokens[:-1].reshape(-1, tokenizer.voices)
        sounds = np.zeros(steps.shape, np.bool_)
        sounds[1:] = steps[:-1] != REST
        correct += int((steps == np.where(sounds, HOLD, REST)).sum())
    return Prediction(correct, 0)


def sounding_repeat_accuracy(tokenizer: GridTokenizer, encodings: Sequence[Encoding]) -> float:
    """Share of voices x steps (and ends) whose sounding pitch is that of the previous step.

    A repeated note counts as correct here, although its token differs from that of a held note. This easier figure
    is often quoted.
    """
    same, total = 0, 0
    for encoding in encodings:
        steps = encoding.tokens[:-1].reshape(-1, tokenizer.voices)
        pitches = _sounding(steps)
        same += int((pitches[1:] == pitches[:-1]).sum())
        total += steps.size + 1
    return same / total


def predict_by_ngram(
    tokenizer: Tokenizer, training: Sequence[Encoding], held_out: Sequence[Encoding], order: int = ORDER
) -> Prediction:
    """Predict with an n-gram that also knows the metrical position of the token.

    The position (voice and place in the quarter) is the nearest value of its context, before the `order - 1` tokens.
    The model counts every transposition of a training piece between -6 and 5 semitones that the tokenizer can write.
    """
    counted = np.concatenate([_rows(tokenizer, encoding, order) for encoding in _transposed(tokenizer, training)])
    predicted = np.concatenate([_rows(tokenizer, encoding, order) for encoding in held_out])
    model = NGram(counted, tokenizer.vocabulary_size)
    correct = model.most_frequent(predicted) == predicted[:, 0]
    onsets = onset_tokens(tokenizer)[predicted[:, 0]]
    nats = float(-np.log(model.probabilities(predicted)).sum())
    return Prediction(int(correct.sum()), int((correct & onsets).sum()), nats)


def _sounding(steps: NDArray[np.int32]) -> NDArray[np.int32]:
    """(steps, voices) tokens with each HOLD replaced by the pitch it holds."""
    sounding = steps.copy()
    for index in range(1, len(steps)):
        sounding[index] = np.where(steps[index] == HOLD, sounding[index - 1], steps[index])
    assert ((sounding >= FIRST_PITCH) | (sounding == REST)).all()
    return sounding


def _transposed(tokenizer: Tokenizer, encodings: Sequence[Encoding]) -> list[Encoding]:
    low, high = _TRANSPOSE
    result = []
    for encoding in encodings:
        shifts = tokenizer.transpositions(encoding.tokens)
        for shift in range(max(low, shifts.start), min(high + 1, shifts.stop)):
            tokens = tokenizer.transposed(encoding.tokens, shift)
            result.append(Encoding(tokens, encoding.first_position, encoding.unmetered_first_position))
    return result


def _rows(tokenizer: Tokenizer, encoding: Encoding, order: int) -> NDArray[np.int64]:
    """(tokens, 1 + order): each token, its metrical position, then the tokens before it, nearest first."""
    rows = context_rows(encoding.tokens, order, tokenizer.start_token)
    positions = tokenizer.positions.indices(encoding.unmetered_first_position, len(rows))
    return np.insert(rows, 1, positions, axis=1)
