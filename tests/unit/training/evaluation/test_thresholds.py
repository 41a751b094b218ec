from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.unit.training.evaluation.scores import evaluation
from training.evaluation.record import EvaluationRecord
from training.evaluation.thresholds import Thresholds, ThresholdsError, load_thresholds

STRICT = Thresholds(
    max_nats_per_note_step=0.43,
    max_share_of_ngram_nats=0.6,
    min_onset_accuracy=0.5,
    min_samples=200,
    max_repetition=0.01,
    max_memorisation=0.02,
    max_ratio=1.5,
    max_ratios={"range": 3.0},
    max_faults={"parallel_fifths": 1.0},
    min_endings=0.9,
    min_open_endings=0.95,
    max_shorter=0.0,
    max_nats_per_note=2.0,
    min_onset_accuracy_by_ngram=1.5,
    min_pitch_accuracy=0.65,
    max_two_sample_accuracy=0.85,
    min_form={"in_scale": 0.9, "returning_bars": 0.1},
)


def test_a_good_bundle_passes() -> None:
    assert STRICT.failures(evaluation()) == []


def nested(table: str, **changes: Any) -> Callable[[EvaluationRecord], EvaluationRecord]:
    def change(base: EvaluationRecord) -> EvaluationRecord:
        return base.model_copy(update={table: getattr(base, table).model_copy(update=changes)})

    return change


def first(table: str, **changes: Any) -> Callable[[EvaluationRecord], EvaluationRecord]:
    def change(base: EvaluationRecord) -> EvaluationRecord:
        rows = getattr(base, table)
        return base.model_copy(update={table: (rows[0].model_copy(update=changes), *rows[1:])})

    return change


def first_ngram(**changes: Any) -> Callable[[EvaluationRecord], EvaluationRecord]:
    def change(base: EvaluationRecord) -> EvaluationRecord:
        *others, ngram = base.baselines
        return base.model_copy(update={"baselines": (*others, ngram.model_copy(update=changes))})

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (nested("likelihood", nats_per_note_step=0.45), "the maximum is 0.43"),
        (nested("likelihood", nats_per_note_step=float("nan")), "the maximum is 0.43"),
        (nested("likelihood", onset_accuracy=0.49), "onset accuracy 0.490; the minimum is 0.5"),
        (first_ngram(onset_accuracy=0.45), "onset accuracy 0.600; the minimum is 1.5 times that of the 8-gram"),
        (nested("likelihood", nats_per_note=2.1), "2.100 nats per note; the maximum is 2"),
        (nested("likelihood", nats_per_note=None), "max_nats_per_note: there is a threshold, but it was not measured"),
        (nested("likelihood", pitch_accuracy=0.6), "accuracy of which note begins 0.600"),
        (nested("two_sample", generated=(0.9, 0.85, 0.86)), "two-sample test: 87.0% of held-out and generated"),
        (lambda base: base.model_copy(update={"two_sample": None}), "max_two_sample_accuracy: there is a threshold"),
        (first("form", generated=0.8), r"in_scale: 80.0% \(real music 95.0%\); the minimum is 90.0%"),
        (lambda base: base.model_copy(update={"form": base.form[:1]}), "returning_bars: there is a threshold"),
        (nested("endings", shorter=0.01), "endings: 1.0% of the pieces end before their length"),
        (lambda base: base.model_copy(update={"samples": 10}), "evaluated on 10 samples"),
        (nested("repetition", share_above=0.02), "repetition: 2.00% of the samples"),
        (first("memorisation", share_above=0.05), r"memorisation \(texture\): 5.00%"),
        (first("ratios", ratio=1.6), "interval: distance to held-out music 1.60 times"),
        (first("faults", generated=1.2), "parallel_fifths: 1.20 per 100 steps"),
        (nested("endings", by_bars={8: 0.95, 12: 0.85}), "endings: 85.0% of the pieces of 12 bars close"),
        (nested("endings", open_length=0.9), "endings: 90.0% of the pieces of the model's own length close"),
        (lambda base: base.model_copy(update={"faults": ()}), "parallel_fifths: there is a threshold"),
        (lambda base: base.model_copy(update={"ratios": base.ratios[:1]}), "range: there is a threshold"),
    ],
)
def test_each_threshold_can_fail_with_a_sentence_of_its_own(
    change: Callable[[EvaluationRecord], EvaluationRecord], words: str
) -> None:
    failures = STRICT.failures(change(evaluation()))
    assert len(failures) == 1
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(failures[0])


def test_a_model_without_right_onsets_fails() -> None:
    failures = STRICT.failures(nested("likelihood", onset_accuracy=None, pitch_accuracy=None)(evaluation()))
    assert [failure.split(";")[0] for failure in failures] == [
        "onset accuracy 0.000",
        "onset accuracy 0.000",
        "accuracy of which note begins 0.000",
    ]


def test_a_model_that_hardly_beats_the_ngram_fails() -> None:
    bounds = Thresholds(max_share_of_ngram_nats=0.4)
    (failure,) = bounds.failures(evaluation())
    assert "0.50 times those of the 8-gram, Witten-Bell" in failure


def test_a_bound_that_is_not_set_is_not_checked() -> None:
    assert Thresholds().failures(evaluation(samples=1)) == []


@pytest.mark.parametrize("path", sorted(Path(str(files("training").joinpath("thresholds"))).glob("*.toml")))
def test_the_shipped_files_can_be_read(path: Path) -> None:
    assert load_thresholds(path.stem).min_samples >= 200
    assert load_thresholds("no bundle of this name") == load_thresholds("default")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[max_ratios]\ncharm = 1.0", "charm is not measured"),
        ("[max_faults]\nhumming = 1.0", "humming is not measured"),
        ("[min_form]\ncharm = 1.0", "charm is not measured"),
        ("loudness = 1", "loudness: unknown field"),
        ("max_repetition = -1", "max_repetition: "),
        ("max_repetition = ", "is not a readable file of thresholds"),
    ],
)
def test_a_file_with_unknown_names_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "gate.toml").write_text(text)
    with pytest.raises(ThresholdsError, match=words):
        load_thresholds("x", tmp_path / "gate.toml")
    with pytest.raises(ThresholdsError, match="is not a readable file of thresholds"):
        load_thresholds("x", tmp_path / "missing.toml")
