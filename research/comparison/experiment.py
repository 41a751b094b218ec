"""Trains the variants of a configuration for equal CPU time, and measures them on the test pieces."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

import torch
from pydantic import Field

from music.score import Score
from music.tokenizers import Tokenizer
from research.comparison.budget import BudgetTraining, without_notes
from research.comparison.ngram import best_ngram, ngram_likelihood
from research.comparison.record import ComparedModel, ComparisonRecord
from research.comparison.transformer import MusicTransformer
from research.variants import Variant, Variants
from training.config import Config
from training.corpus.store import Corpus, Split
from training.loop.tbptt import EncodedPiece, with_notes
from training.network.model import MusicLSTM
from training.run import encode_split, fit_tokenizer

VARIANTS: Final = Path(__file__).with_name("variants.toml")
RESULT: Final = "result.json"
NGRAM: Final = "n-gram"

Report = Callable[[str], None]
"""Called with lines that say how far the comparison is."""


class NetworkKind(StrEnum):
    """The kind of a variant's network."""

    LSTM = "lstm"
    TRANSFORMER = "transformer"


class ComparedVariant(Variant):
    """One training, perhaps of another kind of network."""

    network: NetworkKind = NetworkKind.LSTM

    def make_network(self, config: Config, tokenizer: Tokenizer) -> MusicLSTM | MusicTransformer:
        """The network, with random weights of the configuration's seed."""
        torch.manual_seed(config.training.seed)
        if self.network is NetworkKind.TRANSFORMER:
            return MusicTransformer(config.network, tokenizer)
        return MusicLSTM(config.network, tokenizer)


class Comparison(Variants):
    """Variants of one configuration, each trained for the same CPU time."""

    variants: tuple[ComparedVariant, ...]
    cpu_seconds: float = Field(gt=0)
    """Of each training."""
    valid_pieces: int = Field(ge=1)
    """Number of validation pieces of the curves."""

    def run(self, corpus: Path, work: Path, report: Report) -> ComparisonRecord:
        """Train every variant in its own folder of `work`, then an n-gram. An interrupted comparison is resumed.

        Raises:
            ConfigurationError: a change has an unknown name or a value out of range, or `cpu_seconds` is too small.
            CorpusError: the corpus cannot be read, or holds nothing for the configuration's tokenizer.
            CheckpointError: a folder holds another training, or a checkpoint cannot be written.
            DivergenceError: a loss is not finite.
        """
        configs = [self.config(variant) for variant in self.variants]
        music = _Music.load(configs[0], corpus, self.valid_pieces)
        models = [
            self._trained(variant, config, music, work / variant.folder, report)
            for variant, config in zip(self.variants, configs, strict=True)
        ]
        models.append(_counted(configs[0], music, work / NGRAM, report))
        return ComparisonRecord(budget_seconds=self.cpu_seconds, results=tuple(models))

    def _trained(
        self, variant: ComparedVariant, config: Config, music: "_Music", folder: Path, report: Report
    ) -> ComparedModel:
        network = variant.make_network(config, music.tokenizer)
        sees_notes = isinstance(network, MusicLSTM) and network.notes is not None
        tokenizer = music.tokenizer if sees_notes else music.plain
        training = BudgetTraining(config, network, tokenizer, folder, budget_seconds=self.cpu_seconds)
        if training.finished and (folder / RESULT).exists():
            return ComparedModel.load(folder / RESULT)
        report(f"{variant.name}: {network.parameter_count / 1e6:.2f} M parameters, {self.cpu_seconds:.0f} CPU seconds")
        if not training.finished:
            pieces, seconds = music.traced() if sees_notes else (music.pieces, 0.0)
            training.run(pieces, seconds, music.valid, report)
        return _saved(
            ComparedModel(
                name=variant.name,
                difference=variant.difference,
                parameters=network.parameter_count,
                cpu_seconds=round(training.spent_seconds, 1),
                points=tuple(training.points),
                test=training.evaluate(music.test).as_record(),
            ),
            folder,
            report,
        )


@dataclass(slots=True)
class _Music:
    """The pieces, in every form that a variant needs."""

    tokenizer: Tokenizer
    plain: Tokenizer
    """For networks that see nothing of the notes so far."""
    pieces: list[EncodedPiece]
    valid: list[Score]
    """Some validation pieces, evenly chosen by their number of notes."""
    test: list[Score]
    _traced: list[EncodedPiece] = field(default_factory=list)
    _tracing_seconds: float = 0.0

    @classmethod
    def load(cls, config: Config, path: Path, valid_pieces: int) -> "_Music":
        corpus = Corpus.load(path)
        tokenizer = fit_tokenizer(config, corpus, path)
        pieces, _ = encode_split(corpus, tokenizer, Split.TRAIN)
        valid = sorted((piece.score for piece in corpus.pieces(Split.VALID)), key=lambda score: len(score.notes))
        step = max(len(valid) / valid_pieces, 1.0)
        chosen = [valid[int(step * (index + 0.5))] for index in range(min(valid_pieces, len(valid)))]
        test = [piece.score for piece in corpus.pieces(Split.TEST)]
        return cls(tokenizer, without_notes(tokenizer), pieces, chosen, test)

    def traced(self) -> tuple[Sequence[EncodedPiece], float]:
        """The training pieces with what their notes say, and the CPU seconds that it took to compute that."""
        if not self._traced:
            start = time.process_time()
            self._traced = with_notes(self.pieces, self.tokenizer)
            self._tracing_seconds = time.process_time() - start
        return self._traced, self._tracing_seconds


def _counted(config: Config, music: _Music, folder: Path, report: Report) -> ComparedModel:
    if (folder / RESULT).exists():
        return ComparedModel.load(folder / RESULT)
    start = time.process_time()
    scorer = best_ngram(music.plain, music.pieces, music.valid, config.training.transpose)
    seconds = time.process_time() - start
    return _saved(
        ComparedModel(
            name=NGRAM,
            difference=f"counts of {scorer.order} tokens, Witten-Bell back-off, the grammar's mask",
            parameters=0,
            cpu_seconds=round(seconds, 1),
            points=(),
            test=ngram_likelihood(scorer, music.plain, music.test).as_record(),
        ),
        folder,
        report,
    )


def _saved(model: ComparedModel, folder: Path, report: Report) -> ComparedModel:
    model.save(folder / RESULT)
    report(f"{model.name}: {model.test.nats_per_note:.4f} nats per note on the test pieces")
    return model
