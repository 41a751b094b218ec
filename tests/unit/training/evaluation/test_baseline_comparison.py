import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from music.bundle import Bundle, load_bundle
from music.score import Meter, Note, Score
from training.__main__ import main
from training.config import load_config
from training.corpus.store import CompactScore, Corpus, Split
from training.evaluation import baseline_comparison
from training.evaluation.baseline_comparison import _advice, _worse, compare_with_baselines
from training.evaluation.baselines import evaluate_baselines
from training.evaluation.likelihood import LikelihoodTotals, MeterMode, evaluate_split
from training.evaluation.record import Baseline
from training.export import export_run
from training.loop.history import HISTORY, EpochRecord, History
from training.run import train

NGRAM = Baseline(name="8-gram, Witten-Bell", nats_per_note_step=1.1, accuracy=0.45, onset_accuracy=0.037)
COPY = Baseline(name="repeat the previous step", nats_per_note_step=None, accuracy=0.6, onset_accuracy=0.0)
EASIER = Baseline(
    name="repeat the previous step, sounding pitch only", nats_per_note_step=None, accuracy=0.99, onset_accuracy=None
)


def totals(nats: float, accuracy: float, onsets: float) -> LikelihoodTotals:
    return LikelihoodTotals(
        pieces=1,
        steps=1000,
        tokens=1000,
        nats=nats * 1000,
        correct=round(accuracy * 1000),
        onsets=10_000,
        onsets_correct=round(onsets * 10_000),
    )


def test_a_better_model_has_no_complaints() -> None:
    assert _worse(totals(0.9, 0.7, 0.05), (COPY, EASIER, NGRAM)) == []


def test_each_figure_that_is_no_better_is_named_with_both_numbers() -> None:
    nats, onsets = _worse(totals(1.2, 0.7, 0.0244), (NGRAM,))
    assert nats.startswith(
        "it predicts no better than counts of n-grams: 1.2000 nats per note-step, 8-gram, Witten-Bell 1.1000"
    )
    assert onsets.startswith("it predicts 2.44% of the note onsets, 8-gram, Witten-Bell 3.70%")
    (copied,) = _worse(totals(0.9, 0.44, 0.05), (COPY, EASIER, NGRAM))
    assert copied.startswith("it predicts 44.00% of all tokens, repeat the previous step 60.00%")
    assert _worse(totals(1.1, 0.7, 0.05), (NGRAM,)), "as good is not better"
    assert _worse(replace(totals(0.9, 0.7, 0.0), onsets=0), (NGRAM,)) == []


def repeating_corpus(path: Path) -> Path:
    """Tunes that repeat one bar, which an 8-gram predicts at once."""
    names, scores = [], []
    for index in range(8):
        notes = [Note(step * 240, 240, 60 + (0, 4, 7, 4)[step % 4] + index % 2, 80, 0) for step in range(64)]
        names.append(f"tune{index}")
        scores.append(CompactScore.of(Score(tuple(notes), 64 * 240, Meter(4, 4))))
    Corpus(names, np.array([0, 0, 0, 0, 0, 0, 1, 2], np.uint8), scores, "made up").save(path)
    return path


@pytest.fixture(scope="module")
def poor(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A corpus, and a bundle that has learned almost nothing from it."""
    folder = tmp_path_factory.mktemp("poor")
    corpus = repeating_corpus(folder / "corpus.npz")
    config = load_config(
        "smoke", {"tokenizer.parameters.voices": "1", "training.epochs": "1", "training.learning_rate": "1e-5"}
    )
    train(config, corpus, folder / "run", device="cpu", progress=False)
    export_run(folder / "run", folder / "poor", name="poor")
    return corpus, folder / "poor"


def test_evaluate_warns_about_a_worse_model_and_gives_advice(poor: tuple[Path, Path]) -> None:
    corpus, bundle = poor
    command = ["evaluate", str(bundle), "--corpus", str(corpus), "--split", "test"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, "a poor model is not an error"
    assert "THIS MODEL IS WORSE THAN ITS BASELINES" in result.output
    assert "it predicts no better than counts of n-grams: " in result.output
    assert "  1. train a larger network: this one has 32 hidden units; try CONFIG=auto" in result.output
    assert "  2. train it longer: the validation loss was still falling after all 1 epochs; EPOCHS=2" in result.output
    assert "  3. train on more scores of the same kind: you have 6 with 384 notes" in result.output
    assert "; or start from a trained model of the same kind (FROM=models/NAME), under another NAME" in result.output
    found = json.loads(CliRunner().invoke(main, [*command, "--json"]).output)
    assert [row["name"] for row in found["baselines"]][-1] == "8-gram, Witten-Bell"
    assert len(found["worse_than_baselines"]) >= 1
    assert len(found["advice"]) == 3
    quiet = CliRunner().invoke(main, [*command, "--no-baselines"]).output
    assert "8-gram" not in quiet
    assert "WORSE" not in quiet
    assert quiet.count("nats per note-step") == 1


def test_the_training_split_is_not_compared_with_the_ngram_that_counted_it(poor: tuple[Path, Path]) -> None:
    corpus, bundle = poor
    output = CliRunner().invoke(main, ["evaluate", str(bundle), "--corpus", str(corpus), "--split", "train"]).output
    assert "8-gram" not in output


def test_the_ngram_learns_from_a_part_of_a_large_corpus(
    poor: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, bundle = Corpus.load(poor[0]), load_bundle(poor[1])
    counted: list[int] = []

    def counting(tokenizer: object, training: list[object], *rest: object) -> object:
        counted.append(len(training))
        return evaluate_baselines(tokenizer, training, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(baseline_comparison, "evaluate_baselines", counting)
    result = evaluate_split(bundle, corpus, Split.TEST, MeterMode.GIVEN)
    compare_with_baselines(bundle, corpus, Split.TEST, result)
    monkeypatch.setattr(baseline_comparison, "_MAX_NGRAM_TOKENS", 300)  # of 129 tokens each
    compare_with_baselines(bundle, corpus, Split.TEST, result)
    assert counted == [6, 2]


def advice_after(losses: list[float], poor: tuple[Path, Path], folder: Path, **changes: int) -> list[str]:
    """The advice for the bundle if its validation losses had been these."""
    bundle = load_bundle(poor[1])
    copy = Path(shutil.copytree(poor[1], folder / "copy"))
    with History(folder / "copy", []) as history:
        for epoch, loss in enumerate(losses, 1):
            history.append(EpochRecord(epoch, loss, 0.5, loss, 0.5, 1e-3, 100.0, 1.0))
    assert (copy / HISTORY).exists()
    provenance = bundle.manifest.provenance
    config = {**provenance["config"], "training": {**provenance["config"]["training"], **changes}}
    network = bundle.manifest.network.model_copy(update={"hidden": 256})
    manifest = bundle.manifest.model_copy(update={"network": network, "provenance": {**provenance, "config": config}})
    return _advice(Bundle(copy, manifest, bundle.digest, bundle.tokenizer), Corpus.load(poor[0]))


@pytest.mark.parametrize(
    ("losses", "epochs", "first"),
    [
        ([3.0, 2.0, 1.0], 3, "train it longer: the validation loss was still falling after all 3 epochs; EPOCHS=6"),
        ([3.0, 2.0, 1.0], 9, "resume the training, which is at epoch 3 of 9: run the same command again"),
        ([3.0, 1.0, 2.0, 2.5, 3.0], 5, "train on more scores of the same kind: you have 6 with 384 notes"),
        ([], 5, "train it longer: it was exported before the end of its first epoch"),
    ],
)
def test_the_advice_depends_on_the_validation_losses(
    poor: tuple[Path, Path], tmp_path: Path, losses: list[float], epochs: int, first: str
) -> None:
    advice = advice_after(losses, poor, tmp_path, epochs=epochs)
    assert advice[0].startswith(first)
    assert ("reduce overfitting: the validation loss was lowest after epoch 2 of 5" in advice[-1]) == (len(losses) == 5)
