"""Evaluation of the small real bundle, through the engine that serves it."""

import numpy as np
import pytest

from music.bundle import Bundle
from music.score import Score
from training.corpus.store import Corpus, Split
from training.evaluation.evaluator import evaluate_bundle
from training.evaluation.likelihood import MeterMode, evaluate_split
from training.evaluation.pieces import tokenize_split
from training.evaluation.record import EvaluationRecord
from training.evaluation.sampling import Sample

SAMPLES = 6


@pytest.fixture(scope="module")
def typical(small: Bundle, corpus: Corpus) -> EvaluationRecord:
    return evaluate_bundle(small, corpus, Split.TEST, samples=SAMPLES, threads=1)


@pytest.mark.slow
def test_the_evaluation_is_complete_and_reproducible(typical: EvaluationRecord, small: Bundle, corpus: Corpus) -> None:
    plain = evaluate_split(small, corpus, Split.TEST, MeterMode.GIVEN)
    assert typical.likelihood.nats_per_note_step == pytest.approx(plain.nats_per_note_step)
    assert typical.likelihood.onset_accuracy == plain.onset_accuracy
    assert [row.name for row in typical.baselines][-1] == "8-gram, Witten-Bell"
    assert len(typical.ratios) == 11
    assert all(row.low <= row.ratio <= row.high for row in typical.ratios)
    assert [row.view for row in typical.memorisation] == ["texture", "melody"]
    assert [row.fault for row in typical.faults] == ["parallel_fifths", "parallel_octaves", "crossings", "out_of_range"]
    assert typical.repetition.temperatures == (0.7, 0.8, 0.9, 1.0, 1.1, 1.2)
    assert typical.pieces_per_set == 2
    assert [row.measure for row in typical.form] == ["in_scale", "returning_bars"]
    assert all(0 <= row.low <= row.generated <= row.high <= 1 for row in typical.form)
    assert typical.two_sample is None, "too few pieces"
    assert typical.endings is not None
    assert typical.endings.shorter == 0
    assert typical.remarks == ()
    again = evaluate_bundle(small, corpus, Split.TEST, samples=SAMPLES, threads=1)
    assert again.model_copy(update={"date": typical.date}) == typical


def evaluated_with(
    monkeypatch: pytest.MonkeyPatch, small: Bundle, corpus: Corpus, tokens: np.ndarray | None, score: Score
) -> EvaluationRecord:
    """The evaluation of a bundle that always generates the same piece."""

    def sample(bundle: Bundle, prompts: list[object], sampling: object, **_: object) -> list[Sample]:
        return [Sample(small.tokenizer.encode(score).tokens[:-1] if tokens is None else tokens, score)] * len(prompts)

    monkeypatch.setattr("training.evaluation.evaluator.sample_pieces", sample)
    return evaluate_bundle(small, corpus, Split.TEST, samples=SAMPLES, threads=1)


@pytest.mark.slow
def test_memorisation_is_found(monkeypatch: pytest.MonkeyPatch, small: Bundle, corpus: Corpus) -> None:
    training = tokenize_split(corpus, Split.TRAIN, small.tokenizer)[0].score
    evaluation = evaluated_with(monkeypatch, small, corpus, None, training)
    texture = evaluation.memorisation[0]
    assert texture.longest == len({note.onset for note in training.notes})
    assert texture.bound < texture.longest
    assert texture.share_above == 1.0
    assert evaluation.repetition.share_above == 0.0


@pytest.mark.slow
def test_repetition_is_found(
    monkeypatch: pytest.MonkeyPatch, small: Bundle, corpus: Corpus, typical: EvaluationRecord
) -> None:
    pitch, hold = 30, 3
    tokens = np.full(2 * 60, hold, np.int32)
    tokens[:2] = pitch
    evaluation = evaluated_with(monkeypatch, small, corpus, tokens, small.tokenizer.decode(tokens))
    assert evaluation.repetition.share_above == 1.0
    assert evaluation.repetition.longest == 59
    by_name = {row.feature: row for row in evaluation.ratios}
    assert by_name["note_length"].ratio > 3.0
    assert by_name["note_length"].ratio > {row.feature: row for row in typical.ratios}["note_length"].ratio
    assert by_name["range"].ratio > 3.0
