"""The songs of a folder as tokens, on their sides of the two splits."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from music.score import Score
from music.tokenizers import Tokenizer, tokenizer_class
from training.batches import EncodedPiece
from training.config import TokenizerConfig
from training.corpus import Corpus, Split
from training.errors import CorpusError
from training.reproduce.hearing import as_heard, heard_in_another_key

HELD_OUT = 5
"""The original's kind of split keeps the last of so many equal parts of each song from the network."""


@dataclass(frozen=True, slots=True)
class Songs:
    """Songs as tokens; the vocabulary is that of the whole folder, as the original's was.

    So every token of every song can be predicted, and none is left out of what is charged.
    """

    tokenizer: Tokenizer
    train: Sequence[EncodedPiece]
    valid: Sequence[EncodedPiece]
    test: Sequence[EncodedPiece]

    @property
    def all(self) -> list[EncodedPiece]:
        """Every song as it stands in the folder, in the order of the names."""
        return sorted((*self.train, *self.valid, *self.test), key=lambda piece: piece.name)

    @property
    def beginnings(self) -> list[EncodedPiece]:
        """The training songs without their last fifth."""
        return [replace(piece, tokens=piece.tokens[: _cut(piece)]) for piece in self.train]

    @property
    def endings(self) -> list[EncodedPiece]:
        """The last fifth of each training song, its end token last."""
        return [replace(piece, tokens=piece.tokens[_cut(piece) :]) for piece in self.train]


def heard_songs(corpus: Corpus, shifts: Sequence[int] = (0,)) -> tuple[Songs, list[EncodedPiece]]:
    """The songs as the original heard them, and the training songs once in each transposition.

    `shifts` are the transpositions in semitones; the vocabulary holds what they sound like too.

    Raises:
        CorpusError: a side of the split holds nothing that the original would have heard.
    """
    scores = {piece.name: piece.score for piece in corpus.pieces()}
    heard = {name: as_heard(score) for name, score in scores.items()}
    moved = {(name, shift): heard_in_another_key(score, shift) for name, score in heard.items() for shift in shifts}
    tokenizer = tokenizer_class("notechord").fit({}, [*heard.values(), *moved.values()])
    songs = _songs(corpus, tokenizer, heard)
    train = [_encoded(piece.name, moved[piece.name, shift], tokenizer) for piece in songs.train for shift in shifts]
    return songs, train


def encoded_songs(corpus: Corpus, config: TokenizerConfig) -> Songs:
    """The songs, whole, in the tokens of `config`.

    Raises:
        CorpusError: the tokenizer does not fit, or a side of the split is empty.
    """
    scores = {piece.name: piece.score for piece in corpus.pieces()}
    try:
        tokenizer = tokenizer_class(config.name).fit(config.parameters, scores.values())
    except ValueError as error:
        raise CorpusError(f"the folder and the tokenizer {config.name} do not fit: {error}") from error
    return _songs(corpus, tokenizer, scores)


def _songs(corpus: Corpus, tokenizer: Tokenizer, scores: dict[str, Score]) -> Songs:
    sides: dict[Split, list[EncodedPiece]] = {split: [] for split in Split}
    for piece in corpus.pieces():
        encoded = _encoded(piece.name, scores[piece.name], tokenizer)
        if len(encoded.tokens) > HELD_OUT:  # so that both parts of a cut song hold a token
            sides[piece.split].append(encoded)
    for split, pieces in sides.items():
        if not pieces:
            raise CorpusError(
                f"too few songs to split: no {split.name.lower()} song has {HELD_OUT} {tokenizer.name} tokens or more"
            )
    return Songs(tokenizer, sides[Split.TRAIN], sides[Split.VALID], sides[Split.TEST])


def _encoded(name: str, score: Score, tokenizer: Tokenizer) -> EncodedPiece:
    encoding = tokenizer.encode(score)
    return EncodedPiece(name, encoding.tokens, encoding.clock_start, encoding.unmetered_start)


def _cut(piece: EncodedPiece) -> int:
    """Where the last fifth begins; the end token, which is no part of the music, stays with it."""
    music = len(piece.tokens) - 1
    return music - music // HELD_OUT
