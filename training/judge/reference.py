"""The real music that samples are held against, measured once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from music.score import Score
from music.tokenizers import GridTokenizer, Tokenizer
from training.corpus import Corpus, Split
from training.judge import collapse, copying, voice_leading
from training.judge.bootstrap import Bootstrap, Comparison
from training.judge.features import FEATURES, measured_pieces
from training.judge.pieces import HeardPiece, hear


@dataclass(frozen=True, slots=True, eq=False)
class FaultCounts:
    """Faults and steps of some pieces, (pieces,) each."""

    steps: NDArray[np.float64]
    by_fault: dict[str, NDArray[np.float64]]

    def rate(self, fault: str) -> float:
        """Faults per 100 steps."""
        return float(100.0 * self.by_fault[fault].sum() / max(self.steps.sum(), 1.0))


class Reference:
    """Training and held-out pieces, heard through one tokenizer."""

    def __init__(self, corpus: Corpus, held_out: Split, tokenizer: Tokenizer) -> None:
        """Measure them.

        Raises:
            CorpusError: a side of the split has nothing to say in these tokens.
        """
        self.tokenizer = tokenizer
        self.training = hear(corpus, Split.TRAIN, tokenizer)
        self.held_out = hear(corpus, held_out, tokenizer)
        self._training_scores = [piece.score for piece in self.training]
        self._held_out_scores = [piece.score for piece in self.held_out]
        self._training_features = measured_pieces(self._training_scores)
        self._held_out_features = measured_pieces(self._held_out_scores)

        self.run_length = collapse.RunLength(tokenizer)
        others = [side for side in Split if side not in (Split.TRAIN, held_out) and corpus.count(side)]
        real = chain(self.training, self.held_out, *(hear(corpus, side, tokenizer) for side in others))
        self.run_bound = collapse.bound([self.run_length.longest(_without_end(piece)) for piece in real])

        alone = isinstance(tokenizer, GridTokenizer) and tokenizer.voices == 1
        self._views = {name: view for name, view in copying.VIEWS.items() if not (alone and name == "melody")}
        self._memories = {name: copying.Memory(map(view, self._training_scores)) for name, view in self._views.items()}
        self.real_matches = self.matches(self._held_out_scores)
        self.match_bounds = {name: copying.bound(matches) for name, matches in self.real_matches.items()}

        self._ranges: list[voice_leading.VoiceRange] | None = None
        if isinstance(tokenizer, GridTokenizer) and tokenizer.voices > 1:
            self._ranges = voice_leading.ranges(self._training_scores, tokenizer.voices)
            self.training_faults = self.faults(self._training_scores)
            self.held_out_faults = self.faults(self._held_out_scores)

    @property
    def judges_voice_leading(self) -> bool:
        """Whether there are voices whose leading can be judged."""
        return self._ranges is not None

    @property
    def left_out(self) -> list[str]:
        """What is not judged, and why, a sentence each."""
        reasons = []
        if "melody" not in self._views:
            reasons.append("Copying of the melody alone is not told apart: there is one voice.")
        if not self.judges_voice_leading:
            reasons.append(
                f"Voice leading is not judged: {self.tokenizer.name} tokens keep no several voices apart here."
            )
        return reasons

    def compare(self, scores: Sequence[Score], *, replicates: int) -> tuple[int, dict[str, Comparison]]:
        """Pieces on each side of a distance, and the comparison of each feature by its name."""
        features = measured_pieces(scores)
        bootstrap = Bootstrap(len(scores), len(self.training), len(self.held_out), replicates=replicates)
        sides = zip(FEATURES, features, self._training_features, self._held_out_features, strict=True)
        return bootstrap.matched, {feature.name: bootstrap.compare(feature, *rows) for feature, *rows in sides}

    def matches(self, scores: Sequence[Score]) -> dict[str, list[int]]:
        """Longest match of each piece with the training set, by view."""
        return {
            name: [self._memories[name].longest_match(view(score)) for score in scores]
            for name, view in self._views.items()
        }

    def faults(self, scores: Sequence[Score]) -> FaultCounts:
        """Voice-leading faults of each piece; only where they are judged."""
        assert self._ranges is not None
        voices, step_ticks = len(self._ranges), self.tokenizer.step_ticks
        grids = [voice_leading.sonorities(score, voices, step_ticks) for score in scores]
        counts = [voice_leading.faults(grid, self._ranges) for grid in grids]
        by_fault = {fault: np.array([count[fault] for count in counts], np.float64) for fault in voice_leading.FAULTS}
        return FaultCounts(np.array([len(grid) for grid in grids], np.float64), by_fault)

    def real_rate(self, fault: str) -> float:
        """Faults per 100 steps of training and held-out music together.

        Of the held-out music alone for notes out of range, for the range is the training music's own.
        """
        if fault == "out_of_range":
            return self.held_out_faults.rate(fault)
        faults = self.training_faults.by_fault[fault].sum() + self.held_out_faults.by_fault[fault].sum()
        return float(100.0 * faults / (self.training_faults.steps.sum() + self.held_out_faults.steps.sum()))


def _without_end(piece: HeardPiece) -> NDArray[np.int32]:
    return piece.encoding.tokens[:-1]
