"""Real pieces after a round trip through a bundle's tokenizer, so that they compare with what the bundle generates."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from music.score import Score, ScoreAttributes
from music.tokenizers import Encoding, GridTokenizer, NoteChordTokenizer, Tokenizer
from music.tokenizers import grid_vocabulary as grid_tokens
from music.tokenizers import notechord as notechord_tokens
from training.corpus.store import Corpus, Split
from training.errors import CorpusError


@dataclass(frozen=True, slots=True)
class TokenizedPiece:
    """A real piece, encoded and decoded again."""

    name: str
    encoding: Encoding
    attributes: ScoreAttributes
    """See `attributes_of`."""
    score: Score
    """The decoded tokens: on the tokenizer's grid, without what the tokenizer dropped."""


def attributes_of(score: Score) -> ScoreAttributes:
    """Meter, pickup, tempo, key, program and dynamics of a score."""
    return ScoreAttributes(
        score.meter, score.pickup_ticks, score.tempo_bpm, score.key_sharps, score.program, score.has_dynamics
    )


def tokenize_split(corpus: Corpus, split: Split, tokenizer: Tokenizer) -> list[TokenizedPiece]:
    """The pieces of one split, without those for which the tokenizer has no token.

    Raises:
        CorpusError: no piece is left.
    """
    pieces = list(_tokenized(corpus, split, tokenizer))
    if not pieces:
        raise CorpusError(f"{tokenizer.name} has no token for any {split.name.lower()} piece")
    return pieces


def _tokenized(corpus: Corpus, split: Split, tokenizer: Tokenizer) -> Iterable[TokenizedPiece]:
    for piece in corpus.pieces(split):
        encoding = tokenizer.encode(piece.score)
        if len(encoding.tokens) > 1:
            attributes = attributes_of(piece.score)
            yield TokenizedPiece(piece.name, encoding, attributes, tokenizer.decode(encoding.tokens, attributes))


def onset_tokens(tokenizer: Tokenizer) -> NDArray[np.bool_]:
    """Whether each token begins a note, (vocabulary,).

    In `grid` these are the pitches, in `notechord` the notes and chords, in `events` the pitch tokens.
    """
    tokens = np.arange(tokenizer.vocabulary_size)
    if isinstance(tokenizer, GridTokenizer):
        return tokens >= grid_tokens.FIRST_PITCH
    if isinstance(tokenizer, NoteChordTokenizer):
        return tokens >= notechord_tokens.FIRST_NAME
    return np.array([tokenizer.token_name(int(token)).lower().startswith("pitch") for token in tokens])
