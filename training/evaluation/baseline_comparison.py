"""Says whether a model is better than its baselines, and gives advice if it is not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from music.bundle import Bundle
from music.tokenizers import Encoding
from training.corpus.store import Corpus, Split
from training.evaluation.baselines import evaluate_baselines
from training.evaluation.likelihood import LikelihoodTotals
from training.evaluation.record import Baseline
from training.evaluation.tables import likelihood_table
from training.loop.history import HISTORY, EpochRecord, read_history
from training.model_card import TUNED_FROM

_MAX_NGRAM_TOKENS: Final = 300_000
"""Training tokens from which the n-gram learns, each in up to twelve keys: seconds, and a few hundred MB."""
_CHORALES_NOTES: Final = 57_000
_SMALL_HIDDEN: Final = 64
_WIDTH: Final = 80


@dataclass(frozen=True, slots=True)
class BaselineComparison:
    """A model and its baselines on the same held-out pieces."""

    model: LikelihoodTotals
    baselines: tuple[Baseline, ...]
    worse: tuple[str, ...]
    """A sentence for each figure in which the model is no better than a baseline."""
    advice: tuple[str, ...]
    """How to improve the model, the most promising first. Empty if it is better in all figures."""

    def as_text(self) -> str:
        """The table and the conclusion, as lines for a terminal."""
        table = likelihood_table(self.model.as_record(), self.baselines).as_text()
        if not self.worse:
            return f"{table}\nThe model is better than the baselines.\n"
        rule = "!" * _WIDTH
        lines = [
            rule,
            "THIS MODEL IS WORSE THAN ITS BASELINES: its music will not sound like your scores.",
            *(f"  - {sentence}" for sentence in self.worse),
            "What to do:",
            *(f"  {place}. {sentence}" for place, sentence in enumerate(self.advice, 1)),
            rule,
        ]
        return "\n".join([table, "", *lines]) + "\n"

    def as_json(self) -> dict[str, Any]:
        """The same as JSON-compatible values."""
        return {
            "baselines": [row.model_dump(mode="json") for row in self.baselines],
            "worse_than_baselines": list(self.worse),
            "advice": list(self.advice),
        }


def compare_with_baselines(bundle: Bundle, corpus: Corpus, split: Split, model: LikelihoodTotals) -> BaselineComparison:
    """Compare a bundle's likelihood of one split with that of the baselines.

    The n-gram learns from the training pieces. Of a large corpus it learns from some of them, evenly chosen.
    """
    held_out = _encoded(bundle, corpus, split, corpus.count(split))
    training = _encoded(bundle, corpus, Split.TRAIN, _ngram_pieces(bundle, corpus))
    baselines = tuple(evaluate_baselines(bundle.tokenizer, training, held_out, model)) if training else ()
    worse = tuple(_worse(model, baselines))
    return BaselineComparison(model, baselines, worse, tuple(_advice(bundle, corpus)) if worse else ())


def _encoded(bundle: Bundle, corpus: Corpus, split: Split, count: int) -> list[Encoding]:
    encodings = (bundle.tokenizer.encode(piece.score) for piece in corpus.sample(split, max(count, 1)))
    return [encoding for encoding in encodings if len(encoding.tokens) > 1]


def _ngram_pieces(bundle: Bundle, corpus: Corpus) -> int:
    """Number of training pieces that hold about `_MAX_NGRAM_TOKENS`, estimated from eight of them."""
    pieces = corpus.count(Split.TRAIN)
    few = _encoded(bundle, corpus, Split.TRAIN, 8)
    mean = sum(len(encoding.tokens) for encoding in few) / max(len(few), 1)
    return min(pieces, max(1, int(_MAX_NGRAM_TOKENS / max(mean, 1))))


def _worse(model: LikelihoodTotals, baselines: Sequence[Baseline]) -> list[str]:
    sentences = []
    nats = model.nats_per_note_step
    for row in baselines:
        if row.nats_per_note_step is not None and nats >= row.nats_per_note_step:
            sentences.append(
                f"it predicts no better than counts of n-grams: {nats:.4f} nats per note-step, {row.name} "
                f"{row.nats_per_note_step:.4f} (less is better)"
            )
        onsets = model.onset_accuracy
        if row.onset_accuracy is not None and onsets is not None and onsets < row.onset_accuracy:
            sentences.append(
                f"it predicts {onsets:.2%} of the note onsets, {row.name} {row.onset_accuracy:.2%} (more is better)"
            )
        # A baseline that counts no onsets answers an easier question, so its accuracy is not compared.
        if row.nats_per_note_step is None and row.onset_accuracy is not None and model.accuracy < row.accuracy:
            sentences.append(
                f"it predicts {model.accuracy:.2%} of all tokens, {row.name} {row.accuracy:.2%} (more is better)"
            )
    return sentences


def _advice(bundle: Bundle, corpus: Corpus) -> list[str]:
    config = bundle.manifest.provenance.get("config", {})
    records = read_history(bundle.path / HISTORY)
    pieces, notes = corpus.count(Split.TRAIN), corpus.notes(Split.TRAIN)
    music = f"train on more scores of the same kind: you have {pieces} with {notes:,} notes"
    if notes < _CHORALES_NOTES:
        music += f", the shipped chorales model was trained on {_CHORALES_NOTES:,}"
        if TUNED_FROM not in bundle.manifest.provenance:
            music += "; or start from a trained model of the same kind (FROM=models/NAME), under another NAME"
    larger = []
    if bundle.network.hidden < _SMALL_HIDDEN:
        larger = [f"train a larger network: this one has {bundle.network.hidden} hidden units; try CONFIG=auto"]
    if not records or _still_improves(records):
        return [*larger, _more_epochs(records, config), music]
    return [
        *larger,
        music,
        f"reduce overfitting: the validation loss was lowest after epoch {_best(records)} of {len(records)}; "
        "under another NAME, try SET='network.dropout_between=0.6 network.dropout_output=0.6', or half the width",
    ]


def _more_epochs(records: Sequence[EpochRecord], config: dict[str, Any]) -> str:
    done = len(records)
    epochs = config.get("training", {}).get("epochs", done) if isinstance(config, dict) else done
    if done == 0:
        return "train it longer: it was exported before the end of its first epoch"
    if done < epochs:
        return f"resume the training, which is at epoch {done} of {epochs}: run the same command again"
    return (
        f"train it longer: the validation loss was still falling after all {done} epochs; EPOCHS={2 * done} resumes "
        "the training"
    )


def _best(records: Sequence[EpochRecord]) -> int:
    return min(records, key=lambda record: record.valid_loss).epoch


def _still_improves(records: Sequence[EpochRecord]) -> bool:
    """Whether the best epoch is among the last tenth."""
    return _best(records) > len(records) - max(1, len(records) // 10)
