"""Real pieces as the judge hears them: through the bundle's own tokenizer, like what the bundle writes."""

from collections.abc import Iterable
from dataclasses import dataclass

from music.score import Score
from music.tokenizers import Encoding, Setting, Tokenizer
from training.corpus import Corpus, Split
from training.errors import CorpusError


@dataclass(frozen=True, slots=True)
class HeardPiece:
    """A real piece after a round trip through a tokenizer."""

    name: str
    encoding: Encoding
    setting: Setting
    """What the piece states beside its tokens."""
    score: Score
    """What the tokens say, on the tokenizer's grid and without what it dropped."""


def setting_of(score: Score) -> Setting:
    """What a score says beside its notes."""
    return Setting(score.meter, score.pickup_ticks, score.tempo_bpm, score.key_sharps, score.program)


def hear(corpus: Corpus, split: Split, tokenizer: Tokenizer) -> list[HeardPiece]:
    """The pieces of one side of the split; those of which the tokenizer keeps nothing are left out.

    Raises:
        CorpusError: none is left.
    """
    heard = list(_heard(corpus, split, tokenizer))
    if not heard:
        raise CorpusError(f"no {split.name.lower()} piece has anything to say in {tokenizer.name} tokens")
    return heard


def _heard(corpus: Corpus, split: Split, tokenizer: Tokenizer) -> Iterable[HeardPiece]:
    for piece in corpus.pieces(split):
        encoding = tokenizer.encode(piece.score)
        if len(encoding.tokens) > 1:
            setting = setting_of(piece.score)
            yield HeardPiece(piece.name, encoding, setting, tokenizer.decode(encoding.tokens, setting))
