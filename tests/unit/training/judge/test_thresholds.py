from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.unit.training.judge.scores import judgement
from training.judge.errors import JudgeError
from training.judge.judgement import Judgement
from training.judge.thresholds import Thresholds, load_thresholds

STRICT = Thresholds(
    nats_per_note_step=0.43,
    share_of_ngram_nats=0.6,
    least_onset_accuracy=0.5,
    least_samples=200,
    collapse=0.01,
    copying=0.02,
    ratio=1.5,
    ratios={"range": 3.0},
    faults={"parallel_fifths": 1.0},
)


def test_a_good_bundle_passes() -> None:
    assert STRICT.failures(judgement()) == []


def nested(table: str, **changes: Any) -> Callable[[Judgement], Judgement]:
    def change(base: Judgement) -> Judgement:
        return base.model_copy(update={table: getattr(base, table).model_copy(update=changes)})

    return change


def first(table: str, **changes: Any) -> Callable[[Judgement], Judgement]:
    def change(base: Judgement) -> Judgement:
        rows = getattr(base, table)
        return base.model_copy(update={table: (rows[0].model_copy(update=changes), *rows[1:])})

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (nested("likelihood", nats_per_note_step=0.45), "at most 0.43 pass"),
        (nested("likelihood", nats_per_note_step=float("nan")), "at most 0.43 pass"),
        (nested("likelihood", onset_accuracy=0.4), "onset accuracy 0.400"),
        (nested("likelihood", onset_accuracy=None), "onset accuracy 0.000"),
        (lambda base: base.model_copy(update={"samples": 10}), "judged on 10 samples"),
        (nested("collapse", share=0.02), "collapse: 2.00% of the samples"),
        (first("copying", share=0.05), r"copying \(texture\): 5.00%"),
        (first("ratios", ratio=1.6), "interval: 1.60 times"),
        (first("faults", generated=1.2), "parallel_fifths: 1.20 per 100 steps"),
        (lambda base: base.model_copy(update={"faults": ()}), "parallel_fifths: there is a bound"),
        (lambda base: base.model_copy(update={"ratios": base.ratios[:1]}), "range: there is a bound"),
    ],
)
def test_each_threshold_can_fail_with_a_sentence_of_its_own(
    change: Callable[[Judgement], Judgement], words: str
) -> None:
    failures = STRICT.failures(change(judgement()))
    assert len(failures) == 1
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(failures[0])


def test_a_model_that_hardly_beats_counting_fails() -> None:
    bounds = Thresholds(share_of_ngram_nats=0.4)
    (failure,) = bounds.failures(judgement())
    assert "0.50 of those of the 8-gram, Witten-Bell" in failure


def test_what_is_left_open_is_not_asked() -> None:
    assert Thresholds().failures(judgement(samples=1)) == []


@pytest.mark.parametrize("path", sorted(Path(str(files("training").joinpath("gates"))).glob("*.toml")))
def test_the_files_that_come_with_it_can_be_read(path: Path) -> None:
    assert load_thresholds(path.stem).least_samples >= 200
    assert load_thresholds("no bundle of this name") == load_thresholds("default")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[ratios]\ncharm = 1.0", "nothing called charm is measured"),
        ("[faults]\nhumming = 1.0", "nothing called humming is measured"),
        ("loudness = 1", "loudness: Extra inputs"),
        ("collapse = -1", "collapse: "),
        ("collapse = ", "holds no thresholds"),
    ],
)
def test_a_file_that_asks_for_the_unknown_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "gate.toml").write_text(text)
    with pytest.raises(JudgeError, match=words):
        load_thresholds("x", tmp_path / "gate.toml")
    with pytest.raises(JudgeError, match="holds no thresholds"):
        load_thresholds("x", tmp_path / "missing.toml")
