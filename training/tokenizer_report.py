"""Report before a training: the tokens of a corpus, and the notes that the tokenizer loses."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

from music.note_counts import format_counts
from music.score import TICKS_PER_QUARTER, Score
from music.tokenizers import GridTokenizer, Tokenizer, tokenizer_class
from training.auto_config import AUTO, choose_config
from training.config import load_config
from training.corpus.store import Corpus, Split
from training.errors import StartingPointError
from training.loop.tbptt import EncodedPiece

_NEAR_TICKS: Final = TICKS_PER_QUARTER // 16
"""How far a kept note may move: a 64th, the length of a note of an ornament."""
_SAMPLED_PIECES: Final = 32
_MIN_KEPT: Final = 0.9
"""Share of kept notes below which the report warns."""
_MIN_SUITABLE: Final = 0.5
"""Share of kept notes below which a trained model cannot be tuned on a corpus."""
_MIN_GAIN: Final = 0.05
_ANY_TEXTURE: Final = "piano"


def kept_share(tokenizer: Tokenizer, scores: Sequence[Score]) -> float:
    """Share of the notes that tokens keep: with the same pitch, and moved by at most a 64th."""
    notes, kept = 0, 0
    for score in scores:
        notes += len(score.notes)
        decoded = tokenizer.decode(tokenizer.encode(score).tokens)
        kept += _count_matches(score, decoded)
    return kept / max(notes, 1)


def check_suitable(corpus: Corpus, tokenizer: Tokenizer, model: str) -> None:
    """Check that the tokenizer of a trained model keeps enough of a corpus to tune the model on it.

    Args:
        corpus: of the training.
        tokenizer: of the model.
        model: path of the model, for the message.

    Raises:
        StartingPointError: it keeps less than half of the notes.
    """
    scores = [piece.score for piece in corpus.sample(Split.TRAIN, _SAMPLED_PIECES)]
    kept = kept_share(tokenizer, scores)
    if kept < _MIN_SUITABLE:
        lost = sum((tokenizer.encode(score).dropped for score in scores), Counter[str]())
        raise StartingPointError(
            f"the tokenizer of {model} ({tokenizer.name}) keeps only {kept:.0%} of the notes of this corpus "
            f"({format_counts(lost)}): start from another model, or train without --from (make train: FROM)"
        )


def tokenization_report(
    corpus: Corpus,
    tokenizer: Tokenizer,
    splits: Sequence[Sequence[EncodedPiece]],
    dropped: Counter[str],
    *,
    tuned: bool = False,
) -> list[str]:
    """The lines of the report, with a warning if the tokenizer loses many notes.

    Args:
        corpus: of the training.
        tokenizer: of the training.
        splits: encoded training and validation pieces.
        dropped: their notes that the tokenizer dropped or moved, by reason.
        tuned: whether the tokenizer is that of a trained model from which the training starts.
    """
    train, valid = splits
    tokens = sum(len(piece.tokens) for piece in train)
    notes = corpus.notes(Split.TRAIN) + corpus.notes(Split.VALID)
    lines = [
        f"pieces: {len(train)} train, {len(valid)} valid; {notes:,} notes, "
        f"{tokens:,} training tokens ({tokenizer.name})",
        f"  notes dropped or moved by the tokenizer: {format_counts(dropped)}",
    ]
    lines += _meters_without_token(corpus, tokenizer)
    scores = [piece.score for piece in corpus.sample(Split.TRAIN, _SAMPLED_PIECES)]
    voices = max((score.voices for score in scores), default=0)
    if isinstance(tokenizer, GridTokenizer) and voices < tokenizer.voices:
        lines.append(
            f"WARNING: the tokenizer has {tokenizer.voices} voices, and no piece has more than {voices}. The model "
            "learns that the other voices are silent."
        )
    kept = kept_share(tokenizer, scores)
    if kept < _MIN_KEPT:
        lines.append(
            f"WARNING: {tokenizer.name} tokens keep only {kept:.0%} of the notes. The model cannot learn the others, "
            "and its losses and accuracies do not count them. Do not compare them with those of another tokenizer."
        )
        better = _better_config(corpus, scores, kept)
        if better is not None:
            name, share = better
            where = ", without FROM and under another NAME" if tuned else ", under another NAME"
            lines.append(f"  configuration {name} keeps {share:.0%} of them (CONFIG={name}{where})")
    return lines


def _meters_without_token(corpus: Corpus, tokenizer: Tokenizer) -> list[str]:
    """A line with the pieces whose meter the tokenizer does not know, by meter; none if there are no such pieces."""
    known = tokenizer.positions.meters
    if len(tokenizer.positions) == 1 and tokenizer.bar_token is None:
        return []  # its tokens know no bars
    unknown = Counter(
        str(piece.score.single_meter)
        for split in (Split.TRAIN, Split.VALID)
        for piece in corpus.pieces(split)
        if piece.score.single_meter is not None and piece.score.single_meter not in known
    )
    if not unknown:
        return []
    named = ", ".join(f"{count:,} in {meter}" for meter, count in sorted(unknown.items()))
    return [f"  pieces in a meter that the tokenizer does not know, encoded without bar lines: {named}"]


def _better_config(corpus: Corpus, scores: Sequence[Score], kept: float) -> tuple[str, float] | None:
    """A configuration that keeps clearly more notes, and its share. None if there is none. `auto` before `piano`."""
    shares = {}
    for name in (AUTO, _ANY_TEXTURE):
        table = choose_config(corpus, device="cpu").tables["tokenizer"] if name == AUTO else None
        if table is None:
            entry = load_config(name).tokenizer
            table = {"name": entry.name, "parameters": entry.parameters}
        fitted = tokenizer_class(table["name"]).fit(table["parameters"], scores)
        shares[name] = kept_share(fitted, scores)
    best = max(shares, key=lambda name: round(shares[name], 2))
    return (best, shares[best]) if shares[best] > kept + _MIN_GAIN else None


def _count_matches(score: Score, decoded: Score) -> int:
    """Number of notes with a decoded note of the same pitch near their onset. Each decoded note matches once."""
    onsets: defaultdict[int, list[int]] = defaultdict(list)
    for note in decoded.notes:  # in the order of their onsets
        onsets[note.pitch].append(note.onset)
    kept = 0
    for note in score.notes:
        candidates = onsets[note.pitch]
        while candidates and candidates[0] < note.onset - _NEAR_TICKS:
            candidates.pop(0)
        if candidates and candidates[0] <= note.onset + _NEAR_TICKS:
            candidates.pop(0)
            kept += 1
    return kept
