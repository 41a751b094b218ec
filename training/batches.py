"""Pieces as token streams, laid out in lanes for truncated backpropagation through time."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from music.tokenizers import Tokenizer
from training.config import TrainingConfig
from training.corpus import Corpus, Split

PADDING = -1
"""Target of positions that are no token."""
_LENGTH_NOISE: Final = 0.3


@dataclass(frozen=True, slots=True)
class EncodedPiece:
    """One piece as the network sees it."""

    name: str
    tokens: NDArray[np.int32]
    """(n,), the end token last."""
    clock_start: int
    """Clock row of the first token."""
    unmetered_start: int
    """Clock row of the first token when the piece is heard without its bar lines."""

    def note_steps(self, tokenizer: Tokenizer) -> int:
        """Tokens that stand for time: all but the end. Losses are divided by this."""
        return len(self.tokens) - int(self.tokens[-1] == tokenizer.end_token)

    def windows(self, window: int) -> int:
        """Windows of so many tokens that it fills, the last one in part."""
        return -(-len(self.tokens) // window)


def encode_corpus(corpus: Corpus, tokenizer: Tokenizer, split: Split) -> tuple[list[EncodedPiece], Counter[str]]:
    """Every piece of one side of the split, and what the tokenizer dropped."""
    pieces: list[EncodedPiece] = []
    dropped: Counter[str] = Counter()
    for piece in corpus.pieces(split):
        encoding = tokenizer.encode(piece.score)
        dropped.update(encoding.dropped)
        pieces.append(EncodedPiece(piece.name, encoding.tokens, encoding.clock_start, encoding.unmetered_start))
    return pieces, dropped


def model_inputs(tokens: NDArray[np.integer[Any]], clock_start: int, tokenizer: Tokenizer) -> tuple[NDArray[Any], ...]:
    """What the network sees before each token of a piece, each (n, ...), in the order of `MusicLSTM.forward`."""
    count, voicing, grammar = len(tokens), tokenizer.voicing, tokenizer.grammar
    return (
        np.concatenate([[tokenizer.start_token], tokens[:-1]]).astype(np.int64),
        tokenizer.clock.rows(clock_start, count).astype(np.int64),
        np.zeros(count, np.int64) if grammar.features is None else grammar.states(tokens).astype(np.int64),
        np.zeros((count, 0), np.int64) if voicing is None else voicing.registers(tokens),
        np.zeros((count, 0), np.float32) if voicing is None else voicing.profile(tokens),
    )


@dataclass(frozen=True, slots=True)
class Window:
    """One training step: targets (window, lanes), and `fresh` (lanes,)."""

    inputs: tuple[NDArray[Any], ...]
    """What the network is given before its state, each (window, lanes, ...), in the order of `MusicLSTM.forward`."""
    targets: NDArray[np.int64]
    """`PADDING` where there is no token."""
    fresh: NDArray[np.bool_]
    """Lanes in which a new piece begins, so that the state starts from zero."""


class Lanes:
    """Pieces placed end to end in `lanes` rows, each padded to whole windows so that it starts a window.

    Each piece goes to the row that is the shortest so far, in the order in which they are given: longest first, the
    rows end nearly together (Graham, "Bounds on Multiprocessing Timing Anomalies", 1969). With `shuffled`, the pieces
    of each row then change places among themselves, so that their length does not say when they come.
    """

    def __init__(
        self,
        pieces: Sequence[EncodedPiece],
        tokenizer: Tokenizer,
        *,
        lanes: int,
        window: int,
        starts: Sequence[int] | None = None,
        shuffled: np.random.Generator | None = None,
    ) -> None:
        lanes = min(lanes, len(pieces))
        rows: list[list[int]] = [[] for _ in range(lanes)]
        fill = [0] * lanes
        for index, piece in enumerate(pieces):
            shortest = fill.index(min(fill))
            rows[shortest].append(index)
            fill[shortest] += piece.windows(window)
        if shuffled is not None:
            for row in rows:
                shuffled.shuffle(row)
        self.windows = max(fill)
        length = self.windows * window
        self._targets = np.full((length, lanes), PADDING, np.int64)
        self._fresh = np.zeros((self.windows, lanes), np.bool_)
        self._window = window
        inputs: list[NDArray[Any]] = []
        for lane, indices in enumerate(rows):
            offset = 0
            for index in indices:
                piece = pieces[index]
                count = len(piece.tokens)
                start = piece.clock_start if starts is None else starts[index]
                self._fresh[offset // window, lane] = True
                self._targets[offset : offset + count, lane] = piece.tokens
                seen = model_inputs(piece.tokens, start, tokenizer)
                inputs = inputs or [np.zeros((length, lanes, *array.shape[1:]), array.dtype) for array in seen]
                for array, part in zip(inputs, seen, strict=True):
                    array[offset : offset + count, lane] = part
                offset += piece.windows(window) * window

        self._inputs = tuple(inputs)
        self.width = lanes
        """Lanes side by side."""
        self.counts: list[int] = (self._targets != PADDING).reshape(self.windows, -1).sum(axis=1).tolist()
        """Tokens to predict in each window."""
        self.ends = int((self._targets == tokenizer.end_token).sum())
        """Tokens that end a piece."""

    @property
    def tokens(self) -> int:
        """Tokens to predict."""
        return sum(self.counts)

    def __iter__(self) -> Iterator[Window]:
        for index in range(self.windows):
            part = slice(index * self._window, (index + 1) * self._window)
            yield Window(tuple(array[part] for array in self._inputs), self._targets[part], self._fresh[index])


def training_lanes(pieces: Sequence[EncodedPiece], tokenizer: Tokenizer, config: TrainingConfig, epoch: int) -> Lanes:
    """The epoch's order, transpositions and hidden meters: a function of the seed and the epoch alone.

    Rows that end at different times leave the last windows of an epoch half empty, which costs time and makes steps of
    few tokens. So pieces are placed longest first; but their lengths are taken up to `_LENGTH_NOISE` too long or too
    short, anew in each epoch, so that each epoch puts other pieces side by side.
    """
    random = np.random.default_rng([config.seed, epoch])
    lengths = np.array([piece.windows(config.window) for piece in pieces])
    noise = random.uniform(1 - _LENGTH_NOISE, 1 + _LENGTH_NOISE, len(pieces))
    low, high = config.transpose
    chosen: list[EncodedPiece] = []
    starts: list[int] = []
    for index in np.argsort(-lengths * noise, kind="stable").tolist():
        piece = pieces[index]
        shifts = tokenizer.shifts(piece.tokens)
        shift = int(random.integers(max(low, shifts.start), min(high, shifts.stop - 1) + 1))
        tokens = tokenizer.shifted(piece.tokens, shift)
        chosen.append(EncodedPiece(piece.name, tokens, piece.clock_start, piece.unmetered_start))
        starts.append(piece.unmetered_start if random.random() < config.unknown_meter else piece.clock_start)
    return Lanes(chosen, tokenizer, lanes=config.lanes, window=config.window, starts=starts, shuffled=random)
