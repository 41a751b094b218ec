"""What a tokenizer keeps of the music that a training is about to learn, said before it begins."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

from music.note_counts import in_words
from music.score import TICKS_PER_QUARTER, Score
from music.tokenizers import Tokenizer, tokenizer_class
from training.auto import AUTO, choose
from training.batches import EncodedPiece
from training.config import load_config
from training.corpus import Corpus, Split

_NEAR_TICKS: Final = TICKS_PER_QUARTER // 16
"""How far a note may move and count as kept: a 64th, the length of an ornament's note."""
_SAMPLED_PIECES: Final = 32
_LEAST_KEPT: Final = 0.9
"""Share of the notes below which the loss is said aloud."""
_NOTABLE: Final = 0.05
_ANY_TEXTURE: Final = "piano"


def kept_share(tokenizer: Tokenizer, scores: Sequence[Score]) -> float:
    """Share of the notes that tokens still have: of the same pitch, not a 64th from where it was."""
    notes, kept = 0, 0
    for score in scores:
        notes += len(score.notes)
        decoded = tokenizer.decode(tokenizer.encode(score).tokens)
        kept += _matched(score, decoded)
    return kept / max(notes, 1)


def tokenization_report(
    corpus: Corpus, tokenizer: Tokenizer, sides: Sequence[Sequence[EncodedPiece]], dropped: Counter[str]
) -> list[str]:
    """Lines on what there is to learn, and on what of it is lost if that is much.

    Args:
        corpus: what is learned.
        tokenizer: whose tokens are learned.
        sides: training and validation pieces in them.
        dropped: what the tokenizer left out or moved of these, by reason.
    """
    train, valid = sides
    tokens = sum(len(piece.tokens) for piece in train)
    notes = corpus.notes(Split.TRAIN) + corpus.notes(Split.VALID)
    lines = [
        f"pieces: {len(train)} train, {len(valid)} valid; {notes:,} notes, {tokens:,} {tokenizer.name} tokens to train "
        "on",
        f"  the tokenizer leaves out or moves: {in_words(dropped)}",
    ]
    scores = [piece.score for piece in corpus.sample(Split.TRAIN, _SAMPLED_PIECES)]
    kept = kept_share(tokenizer, scores)
    if kept < _LEAST_KEPT:
        lines.append(
            f"WARNING: {tokenizer.name} tokens keep only {kept:.0%} of the notes where they are. The model cannot "
            "learn the others, and its losses and accuracies do not count them: they are not comparable with those "
            "of tokens that keep more."
        )
        better = _better(corpus, scores, kept)
        if better is not None:
            name, share = better
            lines.append(f"  configuration {name} keeps {share:.0%} of them (CONFIG={name}, under another NAME)")
    return lines


def _better(corpus: Corpus, scores: Sequence[Score], kept: float) -> tuple[str, float] | None:
    """Another configuration that keeps notably more of the notes, if there is one: `auto` rather than `piano`."""
    shares = {}
    for name in (AUTO, _ANY_TEXTURE):
        table = choose(corpus, device="cpu").tables["tokenizer"] if name == AUTO else None
        if table is None:
            entry = load_config(name).tokenizer
            table = {"name": entry.name, "parameters": entry.parameters}
        fitted = tokenizer_class(table["name"]).fit(table["parameters"], scores)
        shares[name] = kept_share(fitted, scores)
    best = max(shares, key=lambda name: round(shares[name], 2))
    return (best, shares[best]) if shares[best] > kept + _NOTABLE else None


def _matched(score: Score, decoded: Score) -> int:
    """Notes that find one of the same pitch near their onset, each note of `decoded` for one."""
    onsets: defaultdict[int, list[int]] = defaultdict(list)
    for note in decoded.notes:  # in the order of their onsets
        onsets[note.pitch].append(note.onset)
    kept = 0
    for note in score.notes:
        there = onsets[note.pitch]
        while there and there[0] < note.onset - _NEAR_TICKS:
            there.pop(0)
        if there and there[0] <= note.onset + _NEAR_TICKS:
            there.pop(0)
            kept += 1
    return kept
