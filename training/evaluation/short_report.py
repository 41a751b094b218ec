"""What the pipeline says of a new model at its end: does it copy, and do its pieces close?

The whole evaluation takes 1,000 samples and minutes; this takes few samples and seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from music.bundle import Bundle
from music.score import Score
from training.corpus.store import Corpus, Split
from training.endings import ending_check
from training.evaluation.endings import closes
from training.evaluation.memorisation import SuffixAutomaton, texture
from training.evaluation.pieces import tokenize_split
from training.evaluation.sampling import defaults_of, new_piece, sample_pieces

PIECES: Final = 24
"""Number of pieces that are generated."""
BARS: Final = 16
"""Their length."""
_MAX_TRAINING_NOTES: Final = 300_000
"""Notes of the training pieces that are searched for copies, which takes seconds and a few hundred MB."""


@dataclass(frozen=True, slots=True)
class ShortReport:
    """Copies and endings of generated pieces, beside those of held-out pieces cut to the same length."""

    bars: float
    """Length of the generated pieces."""
    copied: tuple[int, ...]
    """Longest passage of each generated piece that is also in a training piece, in any key; in onsets."""
    held_out_copied: tuple[int, ...]
    """The same for the held-out pieces."""
    searched: float
    """Share of the training notes that was searched."""
    closed: tuple[bool, ...] | None
    """Whether each generated piece closes (`training.endings`). None if that is not defined for the tokenizer."""
    held_out_closed: tuple[bool, ...]
    """Whether each whole held-out piece closes; empty if that is not defined."""

    @property
    def copying(self) -> int:
        """Generated pieces with a longer copied passage than any held-out piece has."""
        most = max(self.held_out_copied)
        return sum(length > most for length in self.copied)

    def lines(self, tokenizer: str) -> list[str]:
        """The report for a terminal.

        Args:
            tokenizer: name of the tokenizer.
        """
        pieces = len(self.copied)
        part = "" if self.searched == 1 else f" (searched: {self.searched:.0%} of the training notes)"
        real = len(self.held_out_copied)
        lines = [
            f"{pieces} generated pieces of {self.bars:g} bars, beside {real} held-out piece{'' if real == 1 else 's'}:",
            f"  copying: {self.copying} of {pieces} share a longer passage with a training piece than any held-out "
            f"piece does; the longest has {max(self.copied)} onsets, of held-out pieces "
            f"{max(self.held_out_copied)}{part}",
        ]
        if self.closed is None:
            lines.append(f"  endings: not measured: it is not defined how a piece of {tokenizer} tokens closes")
        else:
            lines.append(
                f"  endings: {sum(self.closed)} of {pieces} close; of held-out pieces {sum(self.held_out_closed)} of "
                f"{len(self.held_out_closed)}"
            )
        return lines


def short_report(
    bundle: Bundle, corpus: Corpus, split: Split, *, pieces: int = PIECES, seed: int = 1, threads: int = 0
) -> ShortReport:
    """Generate pieces at the bundle's default sampling, in its first meter, and measure them.

    Args:
        bundle: to sample.
        corpus: that it was trained on.
        split: of the held-out pieces.
        pieces: number of pieces to generate.
        seed: of the first piece.
        threads: CPU threads; 0 for the number of usable cores.

    Raises:
        CorpusError: the tokenizer has no token for any piece of a split.
        EngineError: the model does not run.
    """
    tokenizer = bundle.tokenizer
    meter = tokenizer.positions.meters[0]
    longest = bundle.max_steps * tokenizer.step_ticks // meter.bar_ticks * meter.bar_ticks
    ticks = min(BARS * meter.bar_ticks, longest or bundle.max_steps * tokenizer.step_ticks)
    prompt = new_piece(bundle, meter, ticks)
    samples = sample_pieces(bundle, [prompt] * pieces, [defaults_of(bundle)] * pieces, seed=seed, threads=threads)
    generated = [sample.score for sample in samples]
    held_out = [piece.score for piece in tokenize_split(corpus, split, tokenizer)]
    training, searched = _training_scores(corpus, bundle)
    automaton = SuffixAutomaton(map(texture, training))

    def copied(scores: Sequence[Score]) -> tuple[int, ...]:
        return tuple(automaton.longest_match(texture(score)) for score in scores)

    check = ending_check(tokenizer)
    return ShortReport(
        bars=ticks / meter.bar_ticks,
        copied=copied(generated),
        held_out_copied=copied([score.truncated(ticks) for score in held_out]),
        searched=searched,
        closed=None if check is None else tuple(closes(sample, check) for sample in samples),
        held_out_closed=() if check is None else tuple(map(check, held_out)),
    )


def _training_scores(corpus: Corpus, bundle: Bundle) -> tuple[list[Score], float]:
    """Training pieces after a round trip through the tokenizer, and their share of the notes of all training pieces."""
    notes, pieces = corpus.notes(Split.TRAIN), corpus.count(Split.TRAIN)
    count = pieces if notes <= _MAX_TRAINING_NOTES else max(1, pieces * _MAX_TRAINING_NOTES // notes)
    chosen = [piece.score for piece in corpus.sample(Split.TRAIN, count)]
    tokenizer = bundle.tokenizer
    scores = [tokenizer.decode(tokenizer.encode(score).tokens) for score in chosen]
    return scores, sum(len(score.notes) for score in chosen) / max(notes, 1)
