"""Pieces as token streams, laid out in the rows of batches for truncated backpropagation through time (TBPTT)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from music.remaining_length import UNKNOWN
from music.tokenizers import Tokenizer
from music.tokenizers.note_tracker import NoteTrace
from training.config import TrainingConfig
from training.corpus.store import Corpus, Split
from training.endings import ending_check, held_to_bar_line
from training.network.inputs import Inputs, model_inputs

PADDING = -1
"""Target of positions without a token."""
_LENGTH_NOISE: Final = 0.3
_HELD_SHARE: Final = 0.8
"""Of the pieces whose length is known: the share whose last notes are held to the bar line."""


@dataclass(frozen=True, slots=True)
class EncodedPiece:
    """One piece as the network sees it."""

    name: str
    tokens: NDArray[np.int32]
    """(n,), the end token last."""
    first_position: int
    """Position index of the first token."""
    unmetered_first_position: int
    """Position index of the first token if the meter is hidden from the network."""
    closes: bool = True
    """Whether it ends as a piece should (`training.endings`). The length of any other is hidden from the network."""
    held_tokens: NDArray[np.int32] | None = None
    """The same piece with its last notes held to the bar line, if it closes before one."""
    notes: NoteTrace | None = None
    """What the notes before each token say; None if it is not computed yet."""

    def transposed(self, semitones: int, tokenizer: Tokenizer) -> "EncodedPiece":
        """The piece, transposed by one of its `Tokenizer.transpositions`."""
        notes = self.notes
        if notes is not None and tokenizer.note_tracker is not None:
            notes = tokenizer.note_tracker.transposed(notes, semitones)
        return replace(self, tokens=tokenizer.transposed(self.tokens, semitones), notes=notes)

    def note_steps(self, tokenizer: Tokenizer) -> int:
        """Tokens that stand for time: all but the end token. Losses are divided by this."""
        return len(self.tokens) - int(self.tokens[-1] == tokenizer.end_token)

    def windows(self, window: int) -> int:
        """Windows of so many tokens that the piece takes; the last one may be partly empty."""
        return -(-len(self.tokens) // window)


def encode_corpus(corpus: Corpus, tokenizer: Tokenizer, split: Split) -> tuple[list[EncodedPiece], Counter[str]]:
    """Encode the pieces of one split. Also returns the number of dropped or moved notes by reason."""
    check = ending_check(tokenizer)
    counts_steps = tokenizer.remaining_length.unit_token is None
    pieces: list[EncodedPiece] = []
    dropped: Counter[str] = Counter()
    for piece in corpus.pieces(split):
        encoding = tokenizer.encode(piece.score)
        dropped.update(encoding.dropped)
        closes = check is None or check(piece.score)
        held = held_to_bar_line(piece.score) if check is not None and closes and counts_steps else None
        pieces.append(
            EncodedPiece(
                piece.name,
                encoding.tokens,
                encoding.first_position,
                encoding.unmetered_first_position,
                closes,
                None if held is None else tokenizer.encode(held).tokens,
            )
        )
    return pieces, dropped


def with_notes(pieces: Sequence[EncodedPiece], tokenizer: Tokenizer) -> list[EncodedPiece]:
    """The pieces with what the notes before each token say, if the tokenizer has a `note_tracker`."""
    missing = [index for index, piece in enumerate(pieces) if piece.notes is None]
    traced = list(pieces)
    if tokenizer.note_tracker is not None and missing:
        traces = tokenizer.note_tracker.trace([pieces[index].tokens for index in missing])
        for index, trace in zip(missing, traces, strict=True):
            traced[index] = replace(pieces[index], notes=trace)
    return traced


@dataclass(frozen=True, slots=True)
class Window:
    """The arrays of one training step."""

    inputs: Inputs[NDArray[Any]]
    """Each (window, rows, ...)."""
    targets: NDArray[np.int64]
    """(window, rows): the tokens to predict, `PADDING` where there is none."""
    reset: NDArray[np.bool_]
    """(rows,): rows whose LSTM state starts from zero, because a new piece begins."""


class TBPTTDataset:
    """Pieces placed end to end in the rows of a batch. Iterating yields its windows in order.

    Each piece is padded to whole windows, so that every piece starts a window. A piece goes to the row that is the
    shortest so far. If the longest pieces are given first, all rows end at nearly the same time (Graham, "Bounds on
    Multiprocessing Timing Anomalies", 1969).

    What the network sees takes some hundred bytes a token. So it is computed piece by piece while the windows are
    read, and only the pieces of the present window are held.
    """

    def __init__(
        self,
        pieces: Sequence[EncodedPiece],
        tokenizer: Tokenizer,
        *,
        batch_size: int,
        window: int,
        shifts: Sequence[int] | None = None,
        starts: Sequence[int] | None = None,
        remaining: Sequence[int] | None = None,
        shuffle: np.random.Generator | None = None,
    ) -> None:
        """Lay out the pieces.

        Args:
            pieces: in the order in which they are placed.
            tokenizer: of the pieces.
            batch_size: number of rows, at most; there are no more rows than pieces.
            window: tokens of a window.
            shifts: transposition of each piece in semitones; by default none.
            starts: position index of the first token of each piece; by default its `first_position`.
            remaining: remaining length before the first token of each piece; by default `UNKNOWN`.
            shuffle: if given, the pieces within each row change places, so that length does not decide the order.
        """
        count = len(pieces)
        batch_size = min(batch_size, count)
        rows: list[list[int]] = [[] for _ in range(batch_size)]
        lengths = [0] * batch_size
        for index, piece in enumerate(pieces):
            shortest = lengths.index(min(lengths))
            rows[shortest].append(index)
            lengths[shortest] += piece.windows(window)
        if shuffle is not None:
            for row in rows:
                shuffle.shuffle(row)
        self._pieces = with_notes(pieces, tokenizer)
        self._tokenizer = tokenizer
        self._rows = rows
        self._window = window
        self._shifts = shifts or [0] * count
        self._starts = starts or [piece.first_position for piece in pieces]
        self._remaining = remaining or [UNKNOWN] * count
        self.batch_size = batch_size
        """Number of rows."""
        self.windows = max(lengths)
        """Number of windows."""
        self.counts: list[int] = self._count_tokens()
        """Tokens to predict in each window."""
        self.ends = sum(int((piece.tokens == tokenizer.end_token).sum()) for piece in pieces)
        """Tokens that end a piece."""

    @property
    def tokens(self) -> int:
        """Tokens to predict."""
        return sum(self.counts)

    def __iter__(self) -> Iterator[Window]:
        return self.iterate(slice(None))

    def iterate(self, rows: slice) -> Iterator[Window]:
        """The windows in order, with some of the rows only."""
        columns = [chain(self._row_windows(row), repeat(None)) for row in self._rows[rows]]
        shapes = self._inputs(0, self._piece(0)).map(lambda part: (part.shape[1:], part.dtype))
        for _ in range(self.windows):
            inputs = Inputs(*(np.zeros((self._window, len(columns), *shape), dtype) for shape, dtype in shapes))
            targets = np.full((self._window, len(columns)), PADDING, np.int64)
            reset = np.zeros(len(columns), np.bool_)
            for column, parts in enumerate(map(next, columns)):
                if parts is not None:
                    count = len(parts.targets)
                    for array, part in zip(inputs, parts.inputs, strict=True):
                        array[:count, column] = part
                    targets[:count, column] = parts.targets
                    reset[column] = parts.begins
            yield Window(inputs, targets, reset)

    def _row_windows(self, row: Sequence[int]) -> Iterator["_RowWindow"]:
        for index in row:
            piece = self._piece(index)
            inputs = self._inputs(index, piece)
            for first in range(0, len(piece.tokens), self._window):
                part = slice(first, first + self._window)
                yield _RowWindow(Inputs(*(array[part] for array in inputs)), piece.tokens[part], first == 0)

    def _piece(self, index: int) -> EncodedPiece:
        return self._pieces[index].transposed(self._shifts[index], self._tokenizer)

    def _inputs(self, index: int, piece: EncodedPiece) -> Inputs[NDArray[Any]]:
        return model_inputs(
            piece.tokens,
            self._starts[index],
            self._tokenizer,
            remaining=self._remaining[index],
            notes=piece.notes,
        )

    def _count_tokens(self) -> list[int]:
        counts = np.zeros(self.windows, np.int64)
        for row in self._rows:
            first = 0
            for index in row:
                piece = self._pieces[index]
                last = first + piece.windows(self._window)
                counts[first:last] += self._window
                counts[last - 1] -= (last - first) * self._window - len(piece.tokens)
                first = last
        return [int(count) for count in counts]


class _RowWindow(NamedTuple):
    """One row of a window, without its padding."""

    inputs: Inputs[NDArray[Any]]
    """Each (tokens, ...)."""
    targets: NDArray[np.int32]
    """(tokens,)."""
    begins: bool
    """Whether a piece begins here."""


def epoch_dataset(
    pieces: Sequence[EncodedPiece], tokenizer: Tokenizer, config: TrainingConfig, epoch: int
) -> TBPTTDataset:
    """The training data of an epoch: order, transpositions, hidden meters and lengths depend on seed and epoch only.

    Rows that end at different times leave the last windows of an epoch partly empty, which costs time and makes steps
    with few tokens. So the longest pieces are placed first. Their lengths are changed by up to `_LENGTH_NOISE` for
    this, anew in each epoch, so that other pieces meet in a batch.
    """
    random = np.random.default_rng([config.seed, epoch])
    # Draws of their own, so that a network without the length sees the same epochs as before there was one.
    hidden, held = np.random.default_rng([config.seed, epoch, 1]).random((2, len(pieces)))
    lengths = np.array([piece.windows(config.window) for piece in pieces])
    noise = random.uniform(1 - _LENGTH_NOISE, 1 + _LENGTH_NOISE, len(pieces))
    low, high = config.transpose
    chosen: list[EncodedPiece] = []
    transpositions: list[int] = []
    starts: list[int] = []
    remaining: list[int] = []
    for index in np.argsort(-lengths * noise, kind="stable").tolist():
        piece = pieces[index]
        shifts = tokenizer.transpositions(piece.tokens)
        transpositions.append(int(random.integers(max(low, shifts.start), min(high, shifts.stop - 1) + 1)))
        # A network that is told the length learns to close in time: no other pieces tell their length.
        length_known = piece.closes and hidden[index] >= config.length_dropout
        if length_known and piece.held_tokens is not None and held[index] < _HELD_SHARE:
            piece = replace(piece, tokens=piece.held_tokens, notes=None)
        chosen.append(piece)
        starts.append(
            piece.unmetered_first_position if random.random() < config.meter_dropout else piece.first_position
        )
        remaining.append(tokenizer.remaining_length.of_piece(piece.tokens) if length_known else UNKNOWN)
    return TBPTTDataset(
        chosen,
        tokenizer,
        batch_size=config.batch_size,
        window=config.window,
        shifts=transpositions,
        starts=starts,
        remaining=remaining,
        shuffle=random,
    )
