"""`evaluate`: what a bundle thinks of music it has not written, every token charged."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from music.bundle import Bundle
from music.errors import InvalidScoreError
from music.score import Score
from music.tokenizers import Encoding
from server.engine.onnx_runner import OnnxScorer
from server.engine.precision import Precision
from training.corpus import Corpus, Split
from training.decoded import DecodeScorer
from training.errors import CorpusError
from training.judge.onsets import onset_tokens
from training.readers import MIDI_SUFFIXES, read_file
from training.sources import folder_sources
from training.threads import usable_threads

_TOKENS_AT_ONCE = 32_768


class ClockMode(StrEnum):
    """What the network is told of a piece's meter before its first token."""

    STATED = "stated"
    """The meter and pickup that the score states."""
    HIDDEN = "hidden"
    """Only where the beats fall."""
    MIXTURE = "mixture"
    """Nothing: the piece's likelihood is the mean over every place in a bar, on a quarter, where it might begin.

    A MIDI file cannot say how long its pickup is; the mean over all answers is a likelihood as good as any, and
    charges for not knowing.
    """


@dataclass(slots=True)
class Evaluation:
    """Totals over some pieces."""

    pieces: int = 0
    steps: int = 0
    """Steps of the tokenizer's grid."""
    tokens: int = 0
    """Tokens charged, the ends included."""
    nats: float = 0.0
    """Negative log-likelihood of all tokens."""
    correct: int = 0
    """Tokens that were the likeliest one; in a mixture, under the likeliest clock."""
    onsets: int = 0
    """Tokens charged that begin a note: neither rests nor holds nor ends."""
    onsets_correct: int = 0
    """Those of them that were the likeliest one."""
    tokens_per_step: int = 1
    dropped: Counter[str] = field(default_factory=Counter)
    """Notes that the tokenizer left out or moved, by reason."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Reason by file name."""

    @property
    def nats_per_note_step(self) -> float:
        """Total nats over `tokens_per_step` x steps."""
        return self.nats / (self.steps * self.tokens_per_step)

    @property
    def accuracy(self) -> float:
        """Share of all tokens that were the likeliest one."""
        return self.correct / self.tokens

    @property
    def onset_accuracy(self) -> float | None:
        """Share of the tokens that begin a note that were the likeliest one; None where there is none."""
        return self.onsets_correct / self.onsets if self.onsets else None

    def as_json(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        totals = {item.name: getattr(self, item.name) for item in fields(self)}
        return totals | {
            "nats_per_note_step": self.nats_per_note_step,
            "accuracy": self.accuracy,
            "onset_accuracy": self.onset_accuracy,
        }


def evaluate(
    bundle: Bundle,
    scores: Iterable[Score],
    clock: ClockMode,
    *,
    threads: int = 0,
    precision: Precision | None = None,
) -> Evaluation:
    """Charge every token of every score: rests, holds and the end too, from the first step on.

    The grammar's mask is applied, as it is when the bundle is served. A piece of which the tokenizer keeps
    nothing is reported as dropped notes and not charged.

    Args:
        bundle: what charges.
        scores: the music.
        clock: what the network is told of the meter.
        threads: CPU threads; 0 for as many as the process may use cores.
        precision: whose decode graphs charge, token by token as they serve; by default the graph made for it does,
            which reads whole pieces in float32.

    Raises:
        CorpusError: the tokenizer keeps nothing of any piece.
    """
    tokenizer = bundle.tokenizer
    threads = threads or usable_threads()  # ONNX Runtime itself would take every core, and keep it busy while it waits
    scorer = (
        OnnxScorer(bundle, threads=threads) if precision is None else DecodeScorer(bundle, precision, threads=threads)
    )
    result = Evaluation(tokens_per_step=tokenizer.tokens_per_step)
    encodings: list[Encoding] = []
    for score in scores:
        encoding = tokenizer.encode(score)
        result.dropped.update(encoding.dropped)
        if len(encoding.tokens) > 1:
            encodings.append(encoding)
            result.tokens += len(encoding.tokens)
            result.steps += (len(encoding.tokens) - 1) // tokenizer.tokens_per_step
    if not encodings:
        raise CorpusError(f"{bundle.name} has no token for any of this music: nothing to charge")
    result.pieces = len(encodings)
    encodings.sort(key=lambda encoding: len(encoding.tokens))
    jobs = [(index, start) for index, e in enumerate(encodings) for start in _starts(bundle, e, clock)]
    starts_note = onset_tokens(tokenizer)
    charges: dict[int, list[_Charge]] = {}
    for batch in _batches(jobs, encodings):
        tokens = [encodings[index].tokens for index, _ in batch]
        for (index, _), logits in zip(batch, scorer.logits(tokens, [start for _, start in batch]), strict=True):
            charges.setdefault(index, []).append(_charge(bundle, encodings[index].tokens, logits))
    for index, hypotheses in charges.items():
        nats = np.array([charge.nats for charge in hypotheses])
        likeliest = int(nats.argmin())
        result.nats += float(nats[likeliest] - np.log(np.mean(np.exp(nats[likeliest] - nats))))
        right, begins = hypotheses[likeliest].right, starts_note[encodings[index].tokens]
        result.correct += int(right.sum())
        result.onsets += int(begins.sum())
        result.onsets_correct += int((right & begins).sum())
    return result


def evaluate_folder(
    bundle: Bundle, folder: Path, clock: ClockMode, *, threads: int = 0, precision: Precision | None = None
) -> Evaluation:
    """Evaluate every MIDI file under a folder, as `prepare` would find them; unreadable ones are skipped and named.

    Raises:
        CorpusError: there is no such folder, or no readable MIDI file in it.
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
    result = evaluate(bundle, scores, clock, threads=threads, precision=precision)
    result.skipped = skipped
    return result


def evaluate_split(
    bundle: Bundle,
    corpus: Corpus,
    split: Split,
    clock: ClockMode,
    *,
    threads: int = 0,
    precision: Precision | None = None,
) -> Evaluation:
    """Evaluate one side of a corpus's split.

    Raises:
        CorpusError: it holds no piece.
    """
    scores = [piece.score for piece in corpus.pieces(split)]
    if not scores:
        raise CorpusError(f"the corpus holds no {split.name.lower()} piece")
    return evaluate(bundle, scores, clock, threads=threads, precision=precision)


def _starts(bundle: Bundle, encoding: Encoding, clock: ClockMode) -> list[int]:
    if clock is ClockMode.STATED:
        return [encoding.clock_start]
    if clock is ClockMode.HIDDEN:
        return [encoding.unmetered_start]
    return bundle.tokenizer.clock.beat_starts


def _batches(jobs: Sequence[tuple[int, int]], encodings: Sequence[Encoding]) -> Iterable[list[tuple[int, int]]]:
    """Jobs come sorted by length, so that padding wastes little."""
    batch: list[tuple[int, int]] = []
    for job in jobs:
        if batch and (len(batch) + 1) * len(encodings[job[0]].tokens) > _TOKENS_AT_ONCE:
            yield batch
            batch = []
        batch.append(job)
    if batch:
        yield batch


class _Charge(NamedTuple):
    """What one piece costs."""

    nats: float
    right: NDArray[np.bool_]
    """(n,): whether each token was the likeliest one."""


def _charge(bundle: Bundle, tokens: NDArray[np.int32], logits: NDArray[np.float32]) -> _Charge:
    """Charge one piece from its logits (n, vocabulary)."""
    masked = np.where(bundle.tokenizer.grammar.legal(tokens), logits.astype(np.float64), -np.inf)
    peak = masked.max(axis=1, keepdims=True)
    totals = peak[:, 0] + np.log(np.exp(masked - peak).sum(axis=1))
    nats = float((totals - masked[np.arange(len(tokens)), tokens]).sum())
    return _Charge(nats, masked.argmax(axis=1) == tokens)
