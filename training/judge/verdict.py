"""Whether a model is better than its baselines, and what to do where it is not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from music.bundle import Bundle
from music.tokenizers import Encoding
from training.corpus import Corpus, Split
from training.evaluation import Evaluation
from training.history import HISTORY, EpochRecord, read_history
from training.judge.judge import baseline_rows, likelihood_of
from training.judge.judgement import BaselineRow
from training.judge.table import likelihood_section, section_text

_MOST_TOKENS: Final = 300_000
"""Training tokens that the n-gram learns from at most, each in up to twelve keys: seconds, and a few hundred MB."""
_CHORALES_NOTES: Final = 57_000
_SMALL_WIDTH: Final = 64
_WIDTH: Final = 80


@dataclass(frozen=True, slots=True)
class Verdict:
    """A model beside its baselines on the same held-out pieces."""

    evaluation: Evaluation
    baselines: tuple[BaselineRow, ...]
    worse: tuple[str, ...]
    """In what it is worse than a baseline, a sentence each; empty where it is better in all."""
    advice: tuple[str, ...]
    """What to do about it, the most promising first."""

    def as_text(self) -> str:
        """The comparison, and the verdict in lines that cannot be overlooked."""
        table = section_text(likelihood_section(likelihood_of(self.evaluation), self.baselines))
        if not self.worse:
            return f"{table}\nThe model is better than the baselines.\n"
        rule = "!" * _WIDTH
        lines = [
            rule,
            "THIS MODEL IS WORSE THAN ITS BASELINES: what it writes will not sound like your scores.",
            *(f"  - {sentence}" for sentence in self.worse),
            "What to do:",
            *(f"  {place}. {sentence}" for place, sentence in enumerate(self.advice, 1)),
            rule,
        ]
        return "\n".join([table, "", *lines]) + "\n"

    def as_json(self) -> dict[str, Any]:
        """The same, ready for JSON."""
        return {
            "baselines": [row.model_dump(mode="json") for row in self.baselines],
            "worse_than_baselines": list(self.worse),
            "advice": list(self.advice),
        }


def verdict(bundle: Bundle, corpus: Corpus, split: Split, evaluation: Evaluation) -> Verdict:
    """Compare what a bundle made of a side of a corpus with what copying and an n-gram make of it.

    The n-gram learns from the training pieces, of a large corpus from some of them, evenly chosen.
    """
    tokenizer = bundle.tokenizer
    held_out = _encoded(bundle, corpus, split, corpus.count(split))
    training = _encoded(bundle, corpus, Split.TRAIN, _pieces_within(bundle, corpus))
    rows = tuple(baseline_rows(tokenizer, training, held_out, evaluation)) if training else ()
    worse = tuple(_worse(evaluation, rows))
    return Verdict(evaluation, rows, worse, tuple(_advice(bundle, corpus)) if worse else ())


def _encoded(bundle: Bundle, corpus: Corpus, split: Split, most: int) -> list[Encoding]:
    encodings = (bundle.tokenizer.encode(piece.score) for piece in corpus.sample(split, max(most, 1)))
    return [encoding for encoding in encodings if len(encoding.tokens) > 1]


def _pieces_within(bundle: Bundle, corpus: Corpus) -> int:
    """How many training pieces hold about `_MOST_TOKENS`, by what a few of them hold."""
    pieces = corpus.count(Split.TRAIN)
    few = _encoded(bundle, corpus, Split.TRAIN, 8)
    mean = sum(len(encoding.tokens) for encoding in few) / max(len(few), 1)
    return min(pieces, max(1, int(_MOST_TOKENS / max(mean, 1))))


def _worse(evaluation: Evaluation, baselines: Sequence[BaselineRow]) -> list[str]:
    """A sentence for each figure of a baseline that the model does not beat."""
    sentences = []
    nats = evaluation.nats_per_note_step
    for row in baselines:
        if row.nats_per_note_step is not None and nats >= row.nats_per_note_step:
            sentences.append(
                f"it predicts no better than counting: {nats:.4f} nats per note-step, {row.name} "
                f"{row.nats_per_note_step:.4f} (less is better)"
            )
        onsets = evaluation.onset_accuracy
        if row.onset_accuracy is not None and onsets is not None and onsets < row.onset_accuracy:
            sentences.append(
                f"it guesses {onsets:.2%} of the notes that begin, {row.name} {row.onset_accuracy:.2%} (more is better)"
            )
        # Where a row counts no onsets, its accuracy is of an easier question.
        if row.nats_per_note_step is None and row.onset_accuracy is not None and evaluation.accuracy < row.accuracy:
            sentences.append(
                f"it guesses {evaluation.accuracy:.2%} of all tokens, {row.name} {row.accuracy:.2%} (more is better)"
            )
    return sentences


def _advice(bundle: Bundle, corpus: Corpus) -> list[str]:
    config = bundle.manifest.provenance.get("config", {})
    records = read_history(bundle.path / HISTORY)
    pieces, notes = corpus.count(Split.TRAIN), corpus.notes(Split.TRAIN)
    music = f"train on more scores of the same kind: these are {pieces} with {notes:,} notes"
    if notes < _CHORALES_NOTES:
        music += f", the shipped chorales learned from {_CHORALES_NOTES:,}"
    larger = []
    if bundle.network.hidden < _SMALL_WIDTH:
        larger = [f"train a larger network: this one is {bundle.network.hidden} wide; CONFIG=auto chooses one"]
    if not records or _still_improves(records):
        return [*larger, _more_epochs(records, config), music]
    return [
        *larger,
        music,
        f"let it learn less by heart: the validation loss was lowest after epoch {_best(records)} of {len(records)}; "
        "under another NAME, try SET='network.dropout_between=0.6 network.dropout_output=0.6', or half the width",
    ]


def _more_epochs(records: Sequence[EpochRecord], config: dict[str, Any]) -> str:
    done = len(records)
    asked = config.get("training", {}).get("epochs", done) if isinstance(config, dict) else done
    if done == 0:
        return "train it longer: it was exported before its first epoch was over"
    if done < asked:
        return f"go on with the training, which is at epoch {done} of {asked}: the same command again"
    return (
        f"train it longer: the validation loss was still falling after all {done} epochs; EPOCHS={2 * done} goes on "
        "where it stopped"
    )


def _best(records: Sequence[EpochRecord]) -> int:
    return min(records, key=lambda record: record.valid_loss).epoch


def _still_improves(records: Sequence[EpochRecord]) -> bool:
    """Whether the best epoch is among the last tenth."""
    return _best(records) > len(records) - max(1, len(records) // 10)
