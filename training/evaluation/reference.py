"""The real music that samples are compared with, measured once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from music.score import Score
from music.tokenizers import GridTokenizer, Tokenizer
from training.corpus.store import Corpus, Split
from training.evaluation import memorisation, repetition, two_sample, voice_leading
from training.evaluation.bootstrap import Bootstrap, Comparison
from training.evaluation.features import FEATURES, measure_pieces
from training.evaluation.form import MEASURES, form_counts
from training.evaluation.pieces import TokenizedPiece, tokenize_split
from training.evaluation.record import TwoSampleTest


@dataclass(frozen=True, slots=True, eq=False)
class FaultCounts:
    """Steps and faults of some pieces, (pieces,) each."""

    steps: NDArray[np.float64]
    by_fault: dict[str, NDArray[np.float64]]

    def rate(self, fault: str) -> float:
        """Faults per 100 steps."""
        return float(100.0 * self.by_fault[fault].sum() / max(self.steps.sum(), 1.0))


@dataclass(frozen=True, slots=True, eq=False)
class FormCounts:
    """For one measure of `training.evaluation.form`: how much has the property, and of how much, (pieces,) each."""

    found: NDArray[np.float64]
    total: NDArray[np.float64]

    @property
    def share(self) -> float:
        """Over all pieces; 0 if there is nothing to count."""
        return float(self.found.sum() / max(self.total.sum(), 1.0))


class Reference:
    """Training and held-out pieces after a round trip through one tokenizer."""

    def __init__(self, corpus: Corpus, held_out: Split, tokenizer: Tokenizer) -> None:
        """Measure all pieces.

        Raises:
            CorpusError: the tokenizer has no token for any piece of a split.
        """
        self.tokenizer = tokenizer
        self.training = tokenize_split(corpus, Split.TRAIN, tokenizer)
        self.held_out = tokenize_split(corpus, held_out, tokenizer)
        self._training_scores = [piece.score for piece in self.training]
        self._held_out_scores = [piece.score for piece in self.held_out]
        self._training_features = measure_pieces(self._training_scores)
        self._held_out_features = measure_pieces(self._held_out_scores)

        self.training_form = form_of(self._training_scores)
        self.held_out_form = form_of(self._held_out_scores)

        self.run_length = repetition.RunLength(tokenizer)
        others = [side for side in Split if side not in (Split.TRAIN, held_out) and corpus.count(side)]
        real = chain(self.training, self.held_out, *(tokenize_split(corpus, side, tokenizer) for side in others))
        self.run_bound = repetition.bound([self.run_length.longest(_without_end(piece)) for piece in real])

        single_voice = isinstance(tokenizer, GridTokenizer) and tokenizer.voices == 1
        self._views = {
            name: view for name, view in memorisation.VIEWS.items() if not (single_voice and name == "melody")
        }
        self._automata = {
            name: memorisation.SuffixAutomaton(map(view, self._training_scores)) for name, view in self._views.items()
        }
        self.held_out_matches = self.matches(self._held_out_scores)
        self.match_bounds = {name: memorisation.bound(matches) for name, matches in self.held_out_matches.items()}

        self._ranges: list[voice_leading.VoiceRange] | None = None
        if isinstance(tokenizer, GridTokenizer) and tokenizer.voices > 1:
            self._ranges = voice_leading.ranges(self._training_scores, tokenizer.voices)
            self.training_faults = self.faults(self._training_scores)
            self.held_out_faults = self.faults(self._held_out_scores)

    @property
    def has_voice_leading(self) -> bool:
        """Whether the tokenizer keeps several voices apart."""
        return self._ranges is not None

    @property
    def remarks(self) -> list[str]:
        """What is not measured and why, a sentence each."""
        remarks = []
        if "melody" not in self._views:
            remarks.append("Memorisation of the melody is not measured separately: there is one voice.")
        if not self.has_voice_leading:
            remarks.append(
                f"Voice leading is not measured: these {self.tokenizer.name} tokens do not keep voices apart."
            )
        return remarks

    def compare(self, scores: Sequence[Score], *, replicates: int) -> tuple[int, dict[str, Comparison]]:
        """Number of pieces on each side of a distance, and the comparison of each feature by name."""
        features = measure_pieces(scores)
        bootstrap = Bootstrap(len(scores), len(self.training), len(self.held_out), replicates=replicates)
        sides = zip(FEATURES, features, self._training_features, self._held_out_features, strict=True)
        return bootstrap.pieces_per_set, {feature.name: bootstrap.compare(feature, *rows) for feature, *rows in sides}

    def two_sample_test(self, scores: Sequence[Score], *, threads: int) -> TwoSampleTest | None:
        """How well a forest tells held-out pieces from training pieces, and from `scores`; None for too few pieces.

        Args:
            scores: the first one has the length and meter of the first held-out piece, and so on, in turn.
            threads: CPU threads.
        """
        held_out, training = np.hstack(self._held_out_features), np.hstack(self._training_features)
        generated = np.hstack(measure_pieces(scores))
        count = min(len(held_out), len(training), len(generated))
        if count < two_sample.MIN_PIECES:
            return None
        sides = [training] * len(two_sample.SEEDS), two_sample.rounds(generated, len(held_out))
        against = [two_sample.two_sample_accuracies(held_out, side, threads=threads) for side in sides]
        return TwoSampleTest(pieces=count, training=against[0], generated=against[1])

    def matches(self, scores: Sequence[Score]) -> dict[str, list[int]]:
        """Longest match of each piece with the training set, by view."""
        return {
            name: [self._automata[name].longest_match(view(score)) for score in scores]
            for name, view in self._views.items()
        }

    def faults(self, scores: Sequence[Score]) -> FaultCounts:
        """Voice-leading faults of each piece. Only if `has_voice_leading`."""
        assert self._ranges is not None
        voices, step_ticks = len(self._ranges), self.tokenizer.step_ticks
        grids = [voice_leading.sonorities(score, voices, step_ticks) for score in scores]
        counts = [voice_leading.faults(grid, self._ranges) for grid in grids]
        by_fault = {fault: np.array([count[fault] for count in counts], np.float64) for fault in voice_leading.FAULTS}
        return FaultCounts(np.array([len(grid) for grid in grids], np.float64), by_fault)

    def real_rate(self, fault: str) -> float:
        """Faults per 100 steps of training and held-out music together.

        For notes out of range it is the rate of the held-out music alone: the training music defines the range.
        """
        if fault == "out_of_range":
            return self.held_out_faults.rate(fault)
        faults = self.training_faults.by_fault[fault].sum() + self.held_out_faults.by_fault[fault].sum()
        return float(100.0 * faults / (self.training_faults.steps.sum() + self.held_out_faults.steps.sum()))


def form_of(scores: Sequence[Score]) -> dict[str, FormCounts]:
    """The counts of each measure of form."""
    counts = [form_counts(score) for score in scores]
    return {measure: FormCounts(*np.array([count[measure] for count in counts], np.float64).T) for measure in MEASURES}


def _without_end(piece: TokenizedPiece) -> NDArray[np.int32]:
    return piece.encoding.tokens[:-1]
