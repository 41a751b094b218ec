"""Likelihood of music that a bundle did not generate. Every token counts."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from music.bundle import Bundle
from music.errors import InvalidScoreError
from music.remaining_length import UNKNOWN
from music.score import Score
from music.tokenizers import Encoding, Tokenizer
from runtime.precision import Precision
from runtime.scorer import batches, log_probabilities
from training.corpus.sources import folder_sources
from training.corpus.store import Corpus, Split
from training.errors import CorpusError
from training.evaluation.decode_scoring import LogitScorer, logit_scorer
from training.evaluation.pieces import onset_tokens
from training.evaluation.record import Likelihood
from training.loop.hardware import usable_threads
from training.readers import MIDI_SUFFIXES, read_file


class MeterMode(StrEnum):
    """What the network knows about a piece's meter before its first token."""

    GIVEN = "given"
    """The meter and the pickup, as the score states them."""
    BEATS = "beats"
    """Only where the beats fall."""
    UNKNOWN = "unknown"
    """Nothing. The likelihood of a piece is the mean over all beats of a bar on which it might begin.

    A MIDI file does not say how long its pickup is. The mean over all answers is a valid likelihood, and lower than
    that of the right answer.
    """


@dataclass(slots=True)
class LikelihoodTotals:
    """Totals over some pieces."""

    pieces: int = 0
    steps: int = 0
    """Steps of the tokenizer's grid."""
    tokens: int = 0
    """Tokens scored, the end tokens included."""
    nats: float = 0.0
    """Negative log-likelihood of all tokens."""
    correct: int = 0
    """Tokens that were the most probable one. If the meter is unknown: at the most probable start."""
    onsets: int = 0
    """Tokens that begin a note: no rests, holds or ends."""
    onsets_correct: int = 0
    """Of these, tokens that were the most probable one."""
    pitches_correct: int = 0
    """Of these, tokens that were the most probable one of all tokens that begin a note."""
    notes: int = 0
    """Notes of the scores, those included that the tokenizer dropped."""
    seconds: float = 0.0
    """Playing time of the scores at their tempos."""
    bits_per_second_by_piece: list[float] = field(default_factory=list)
    """Of each piece, ascending."""
    tokens_per_step: int = 1
    dropped: Counter[str] = field(default_factory=Counter)
    """Notes that the tokenizer dropped or moved, by reason."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Reason by file name."""

    @property
    def nats_per_note_step(self) -> float:
        """Nats divided by `tokens_per_step` x steps."""
        return self.nats / (self.steps * self.tokens_per_step)

    @property
    def accuracy(self) -> float:
        """Share of all tokens that were the most probable one."""
        return self.correct / self.tokens

    @property
    def onset_accuracy(self) -> float | None:
        """Share of the onset tokens that were the most probable one. None without onsets."""
        return self.onsets_correct / self.onsets if self.onsets else None

    @property
    def pitch_accuracy(self) -> float | None:
        """Share of the onset tokens that were the most probable one that begins a note. None without onsets.

        This is the question which note begins, given that one does.
        """
        return self.pitches_correct / self.onsets if self.onsets else None

    @property
    def nats_per_note(self) -> float | None:
        """Nats divided by the notes of the scores: compares tokenizers that drop few notes. None without notes."""
        return self.nats / self.notes if self.notes else None

    @property
    def bits_per_second(self) -> float | None:
        """Bits divided by the playing time of the scores. None if they last no time."""
        return self.nats / math.log(2) / self.seconds if self.seconds else None

    def as_record(self) -> Likelihood:
        """The part that an evaluation records."""
        return Likelihood(**{name: getattr(self, name) for name in Likelihood.model_fields})

    def as_json(self) -> dict[str, Any]:
        """All totals and rates, as JSON-compatible values."""
        totals = {item.name: getattr(self, item.name) for item in fields(self)}
        return totals | {
            "nats_per_note_step": self.nats_per_note_step,
            "accuracy": self.accuracy,
            "onset_accuracy": self.onset_accuracy,
            "pitch_accuracy": self.pitch_accuracy,
            "nats_per_note": self.nats_per_note,
            "bits_per_second": self.bits_per_second,
        }


def evaluate_pieces(
    bundle: Bundle,
    scores: Iterable[Score],
    meter: MeterMode,
    *,
    threads: int = 0,
    precision: Precision | None = None,
    length_known: bool = False,
) -> LikelihoodTotals:
    """Score every token of every piece: rests, holds and the end too, from the first step on.

    The grammar's mask is applied, as in serving. A piece for which the tokenizer has no token is only counted among
    the dropped notes.

    Args:
        bundle: the model.
        scores: the pieces.
        meter: what the network knows about the meter.
        threads: CPU threads; 0 for the number of usable cores.
        precision: score with the decode graphs of this precision, token by token as in serving. By default the
            scoring graph is used, which reads whole pieces in float32.
        length_known: whether a network that sees how much of a piece is left is told the length of each piece. The
            likelihood is then not that of the piece alone.

    Raises:
        CorpusError: the tokenizer has no token for any piece.
    """
    threads = threads or usable_threads()  # ONNX Runtime's own default would keep every core busy while it waits
    scorer = logit_scorer(bundle, precision, threads=threads)
    result = score_pieces(scorer, bundle.tokenizer, scores, meter, length_known=length_known)
    if not result.pieces:
        raise CorpusError(f"{bundle.name} has no token for any of this music, so there is nothing to evaluate")
    return result


def score_pieces(
    scorer: LogitScorer, tokenizer: Tokenizer, scores: Iterable[Score], meter: MeterMode, *, length_known: bool = False
) -> LikelihoodTotals:
    """Score pieces with any network. For the arguments see `evaluate_pieces`.

    Returns:
        The totals, with 0 pieces if the tokenizer has no token for any of them.
    """
    result = LikelihoodTotals(tokens_per_step=tokenizer.tokens_per_step)
    encodings: list[Encoding] = []
    seconds: list[float] = []
    for score in scores:
        encoding = tokenizer.encode(score)
        result.dropped.update(encoding.dropped)
        if len(encoding.tokens) > 1:
            encodings.append(encoding)
            seconds.append(score.duration_seconds)
            result.notes += len(score.notes)
            result.tokens += len(encoding.tokens)
            result.steps += (len(encoding.tokens) - 1) // tokenizer.tokens_per_step
    result.pieces = len(encodings)
    result.seconds = sum(seconds)
    jobs = [(index, start) for index, e in enumerate(encodings) for start in _starts(tokenizer, e, meter)]
    begins_note = onset_tokens(tokenizer)
    scored: dict[int, list[_ScoredPiece]] = {}
    for batch in batches([len(encodings[index].tokens) for index, _ in jobs], scorer.tokens_at_once):
        together = [jobs[job] for job in batch]
        tokens = [encodings[index].tokens for index, _ in together]
        of_piece = tokenizer.remaining_length.of_piece
        lengths = [of_piece(piece) if length_known else UNKNOWN for piece in tokens]
        scored_batch = scorer.logits(tokens, [start for _, start in together], lengths)
        for (index, _), logits in zip(together, scored_batch, strict=True):
            scored.setdefault(index, []).append(_score_piece(tokenizer, encodings[index].tokens, logits, begins_note))
    for index, starts in scored.items():
        nats = np.array([piece.nats for piece in starts])
        best = int(nats.argmin())
        of_piece_nats = float(nats[best] - np.log(np.mean(np.exp(nats[best] - nats))))
        result.nats += of_piece_nats
        if seconds[index]:
            result.bits_per_second_by_piece.append(of_piece_nats / math.log(2) / seconds[index])
        correct, onsets = starts[best].correct, begins_note[encodings[index].tokens]
        result.correct += int(correct.sum())
        result.onsets += int(onsets.sum())
        result.onsets_correct += int((correct & onsets).sum())
        result.pitches_correct += starts[best].pitches_correct
    result.bits_per_second_by_piece.sort()
    return result


def evaluate_folder(
    bundle: Bundle, folder: Path, meter: MeterMode, *, threads: int = 0, precision: Precision | None = None
) -> LikelihoodTotals:
    """Evaluate every MIDI file that `prepare` would find under a folder. Unreadable files are skipped and named.

    Raises:
        CorpusError: the folder does not exist, or holds no readable MIDI file.
    """
    scores: list[Score] = []
    skipped: dict[str, str] = {}
    for source in folder_sources(folder).sources:
        if source.path.suffix.lower() not in MIDI_SUFFIXES:
            continue
        try:
            file = read_file(source.path, source.name)
        except (InvalidScoreError, OSError) as error:
            skipped[source.name] = str(error)
            continue
        scores.extend(reading.score for reading in file.readings)
        skipped.update(file.skipped)
    if not scores:
        raise CorpusError(
            f"no readable MIDI file in {folder}" + (f": {next(iter(skipped.values()))}" if skipped else "")
        )
    result = evaluate_pieces(bundle, scores, meter, threads=threads, precision=precision)
    result.skipped = skipped
    return result


def evaluate_split(
    bundle: Bundle,
    corpus: Corpus,
    split: Split,
    meter: MeterMode,
    *,
    threads: int = 0,
    precision: Precision | None = None,
    length_known: bool = False,
) -> LikelihoodTotals:
    """Evaluate the pieces of one split of a corpus. For the arguments see `evaluate_pieces`.

    Raises:
        CorpusError: the split holds no piece.
    """
    scores = [piece.score for piece in corpus.pieces(split)]
    if not scores:
        raise CorpusError(f"the corpus holds no {split.name.lower()} piece")
    return evaluate_pieces(bundle, scores, meter, threads=threads, precision=precision, length_known=length_known)


def _starts(tokenizer: Tokenizer, encoding: Encoding, meter: MeterMode) -> list[int]:
    """Position indices at which the piece may begin."""
    if meter is MeterMode.GIVEN:
        return [encoding.first_position]
    if meter is MeterMode.BEATS:
        return [encoding.unmetered_first_position]
    return tokenizer.positions.beat_starts


class _ScoredPiece(NamedTuple):
    nats: float
    correct: NDArray[np.bool_]
    """(n,): whether each token was the most probable one."""
    pitches_correct: int
    """Tokens that begin a note and were the most probable of those that do."""


def _score_piece(
    tokenizer: Tokenizer, tokens: NDArray[np.int32], logits: NDArray[np.float32], begins_note: NDArray[np.bool_]
) -> _ScoredPiece:
    """Score one piece from its logits (n, vocabulary); `begins_note` (vocabulary,) marks the tokens that do."""
    legal = tokenizer.grammar.masks(tokens)
    masked = np.where(legal, logits, -np.inf)
    correct = masked.argmax(axis=1) == tokens
    onsets = begins_note[tokens]
    pitches = np.where(begins_note, masked[onsets], -np.inf).argmax(axis=1)
    nats = -float(log_probabilities(logits, legal, tokens).sum())
    return _ScoredPiece(nats, correct, int((pitches == tokens[onsets]).sum()))
