"""The songs of a folder as tokens, in both splits: by song, and by part of a song."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from music.score import Score
from music.tokenizers import Tokenizer, tokenizer_class
from research.reproduction.encoding import reduce_score, transpose_reduced
from training.config import TokenizerConfig
from training.corpus.store import Corpus, Split
from training.errors import CorpusError
from training.loop.tbptt import EncodedPiece

PARTS = 5
"""The original's kind of split holds out the last of this many equal parts of each song."""


@dataclass(frozen=True, slots=True)
class Songs:
    """Songs as tokens. The vocabulary is that of the whole folder, as in the original.

    So every token of every song is in the vocabulary and counts in the totals.
    """

    tokenizer: Tokenizer
    train: Sequence[EncodedPiece]
    valid: Sequence[EncodedPiece]
    test: Sequence[EncodedPiece]

    @property
    def all(self) -> list[EncodedPiece]:
        """Every song, in the order of the names."""
        return sorted((*self.train, *self.valid, *self.test), key=lambda piece: piece.name)

    @property
    def trained_parts(self) -> list[EncodedPiece]:
        """The training songs without their last fifth."""
        return [replace(piece, tokens=piece.tokens[: _cut(piece)]) for piece in self.train]

    @property
    def held_out_parts(self) -> list[EncodedPiece]:
        """The last fifth of each training song, end token included."""
        return [replace(piece, tokens=piece.tokens[_cut(piece) :]) for piece in self.train]


def reduced_songs(corpus: Corpus, shifts: Sequence[int] = (0,)) -> tuple[Songs, list[EncodedPiece]]:
    """The songs reduced as in the original, and the training songs once in each transposition.

    `shifts` are the transpositions in semitones. The vocabulary holds the tokens of the transposed songs too.

    Raises:
        CorpusError: a split holds no song with enough tokens.
    """
    scores = {piece.name: piece.score for piece in corpus.pieces()}
    reduced = {name: reduce_score(score) for name, score in scores.items()}
    transposed = {(name, shift): transpose_reduced(score, shift) for name, score in reduced.items() for shift in shifts}
    tokenizer = tokenizer_class("notechord").fit({}, [*reduced.values(), *transposed.values()])
    songs = _songs(corpus, tokenizer, reduced)
    train = [
        _encoded(piece.name, transposed[piece.name, shift], tokenizer) for piece in songs.train for shift in shifts
    ]
    return songs, train


def encoded_songs(corpus: Corpus, config: TokenizerConfig) -> Songs:
    """The complete songs in the tokens of `config`.

    Raises:
        CorpusError: the tokenizer does not fit the folder, or a split holds no song with enough tokens.
    """
    scores = {piece.name: piece.score for piece in corpus.pieces()}
    try:
        tokenizer = tokenizer_class(config.name).fit(config.parameters, scores.values())
    except ValueError as error:
        raise CorpusError(f"the tokenizer {config.name} does not fit the folder: {error}") from error
    return _songs(corpus, tokenizer, scores)


def _songs(corpus: Corpus, tokenizer: Tokenizer, scores: dict[str, Score]) -> Songs:
    sides: dict[Split, list[EncodedPiece]] = {split: [] for split in Split}
    for piece in corpus.pieces():
        encoded = _encoded(piece.name, scores[piece.name], tokenizer)
        if len(encoded.tokens) > PARTS:  # so that both parts of a song hold a token
            sides[piece.split].append(encoded)
    for split, pieces in sides.items():
        if not pieces:
            raise CorpusError(
                f"too few songs to split: no {split.name.lower()} song has {PARTS} {tokenizer.name} tokens or more"
            )
    return Songs(tokenizer, sides[Split.TRAIN], sides[Split.VALID], sides[Split.TEST])


def _encoded(name: str, score: Score, tokenizer: Tokenizer) -> EncodedPiece:
    encoding = tokenizer.encode(score)
    return EncodedPiece(name, encoding.tokens, encoding.first_position, encoding.unmetered_first_position)


def _cut(piece: EncodedPiece) -> int:
    """Index at which the last fifth begins. The end token belongs to it but does not count."""
    music = len(piece.tokens) - 1
    return music - music // PARTS
