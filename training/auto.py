"""Sizes for whatever corpus there is: `auto` looks at the training pieces and chooses a configuration.

Recurrent language models whose authors searched for good sizes (Merity et al., 2018, "Regularizing and Optimizing
LSTM Language Models" and "An Analysis of Neural Language Modeling at Multiple Scales") have 24 million parameters for
0.9 million tokens (Penn Treebank), 33 for 2.1 (WikiText-2) and 151 for 103 (WikiText-103): about the power 0.4 of the
tokens. Music has a hundredth of their vocabulary, so the level is our own: two million parameters for the quarter of
a million tokens of the chorales. Dropout, epochs and the number of updates start from the same anchor.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from music.invalid import plain_text
from music.score import TICKS_PER_QUARTER, Score
from music.tokenizers import Tokenizer, tokenizer_class
from training.config import config_of
from training.corpus import Corpus, Split
from training.errors import CorpusError

AUTO: Final = "auto"
"""What stands in a configuration's place on the command line."""

_DESCRIPTION_CHARACTERS: Final = 500
_SAMPLED_PIECES: Final = 64
_MOST_VOICES: Final = 4
_LEAST_KEPT: Final = 0.98
_GRID_TICKS: Final = TICKS_PER_QUARTER // 4
_MOST_METERS: Final = 8
_LONGEST_QUARTERS: Final = 1024
"""The longest piece that a caller may ask for: 256 bars of 4/4."""
_CHORALE_ORDER: Final = [0, 3, 2, 1]  # soprano, bass, tenor, alto: the outer voices frame the inner ones

_ANCHOR_TOKENS: Final = 250_000
_ANCHOR_PARAMETERS: Final = 2_000_000
_GROWTH: Final = 0.4
_PARAMETERS_PER_SQUARE: Final = 40 / 3
"""Of two layers whose inputs are a third as wide as they are: 4 H (H/3 + H) + 4 H (H + H)."""
_WIDTHS: Final = (128, 1024)
_WIDEST_ON_CPU: Final = 512


@dataclass(frozen=True, slots=True)
class Choice:
    """A configuration's tables, as its file would have them, and why they are so."""

    tables: dict[str, dict[str, Any]]
    reasons: list[str]
    """A line for each choice."""


def choose(corpus: Corpus, *, device: str) -> Choice:
    """Choose a configuration for the training pieces of a corpus: the same one every time.

    Raises:
        CorpusError: no training piece has a note.
    """
    sample = [piece.score for piece in corpus.sample(Split.TRAIN, _SAMPLED_PIECES) if piece.score.notes]
    if not sample:
        raise CorpusError("no training piece has a note: there is nothing to choose sizes for")
    pieces = corpus.count(Split.TRAIN)
    tokenizer_table, tokenizer, why = _tokenizer(sample)
    # What the sample takes tells what all take; only the sample is turned into tokens here.
    share = sum(len(score.notes) for score in sample) / corpus.notes(Split.TRAIN)
    tokens = round(sum(len(tokenizer.encode(score).tokens) for score in sample) / share)
    network, training, reasons = sizes(tokens, pieces, device)
    return Choice(
        {
            "tokenizer": tokenizer_table,
            "network": network,
            "training": training,
            "bundle": {
                "description": plain_text(f"Trained on {pieces} pieces ({corpus.source})", _DESCRIPTION_CHARACTERS),
                "temperature": 0.95,
                "top_p": 0.97,
                "tempo_bpm": round(min(max(median(score.tempo_bpm for score in sample), 20.0), 300.0), 1),
                "program": Counter(score.program for score in sample).most_common(1)[0][0],
                "max_steps": _LONGEST_QUARTERS * TICKS_PER_QUARTER // tokenizer.step_ticks,
            },
        },
        [why, *reasons],
    )


def check_overrides(overrides: dict[str, str]) -> None:
    """Make sure that values can be changed so in a configuration that will be chosen for a corpus.

    Raises:
        ConfigurationError: there is no such value, or it is out of range.
    """
    network, training, _ = sizes(_ANCHOR_TOKENS, 100, "cpu")
    tables = {"tokenizer": {"name": "events"}, "network": network, "training": training, "bundle": {"description": ""}}
    config_of(tables, AUTO, overrides)


def _tokenizer(sample: Sequence[Score]) -> tuple[dict[str, Any], Tokenizer, str]:
    """The grid where it keeps nearly every note as it is, else events."""
    voices = Counter(score.voices for score in sample).most_common(1)[0][0]
    kept = 0.0
    if voices <= _MOST_VOICES:
        parameters: dict[str, Any] = {"voices": voices}
        if voices == len(_CHORALE_ORDER):
            parameters["voice_order"] = _CHORALE_ORDER
        meters = _meters(sample)
        if meters:
            parameters["meters"] = meters
        grid = tokenizer_class("grid").fit(parameters, sample)
        same = sum((_sounds(score) & _sounds(grid.decode(grid.encode(score).tokens))).total() for score in sample)
        kept = same / sum(len(score.notes) for score in sample)
        if kept >= _LEAST_KEPT:
            lines = "a single line" if voices == 1 else f"{voices} voices of single notes"
            why = f"tokenizer grid, {voices} voices: {kept:.1%} of the notes are {lines} on 16ths"
            return {"name": "grid", "parameters": parameters}, grid, why
    events = tokenizer_class("events").fit({}, sample)
    less = (
        f"a grid of 16ths would keep {kept:.1%} of the notes as they are"
        if voices <= _MOST_VOICES
        else f"{voices} voices"
    )
    return {"name": "events", "parameters": {}}, events, f"tokenizer events: {less}"


def _sounds(score: Score) -> Counter[tuple[int, int, int, int]]:
    """Its notes without their velocities, which a grid does not keep."""
    return Counter((note.onset, note.duration, note.pitch, note.voice) for note in score.notes)


def _meters(sample: Sequence[Score]) -> list[str]:
    """Those that a clock on 16ths can count and that are no rarity here, the commonest first."""
    counts = Counter(score.meter for score in sample if score.meter and score.meter.bar_ticks % _GRID_TICKS == 0)
    return [str(meter) for meter, count in counts.most_common(_MOST_METERS) if count >= len(sample) / 50]


def sizes(tokens: int, pieces: int, device: str) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """The tables `network` and `training` for so many tokens in so many pieces, and a line for each choice."""
    scale = tokens / _ANCHOR_TOKENS
    parameters = _ANCHOR_PARAMETERS * scale**_GROWTH
    least, most = _WIDTHS
    most = most if device == "cuda" else _WIDEST_ON_CPU
    hidden = min(max(64 * round(math.sqrt(parameters / _PARAMETERS_PER_SQUARE) / 64), least), most)
    dropout = round(min(max(0.5 - 0.15 * math.log10(scale), 0.1), 0.6), 2)
    epochs = min(max(round(28 * scale**-_GROWTH), 8), 100)
    window = 128 if tokens < 2_000_000 else 256
    lanes = 2 ** round(math.log2(max(tokens / (100 * window), 1)))  # a hundred updates an epoch, or more
    lanes = min(max(lanes, 8), 256 if device == "cuda" else 64, max(pieces, 1))
    updates = max(tokens / (lanes * window), 1)
    network = {
        "layers": 2,
        "hidden": hidden,
        "embedding": max(hidden // 3 // 16 * 16, 32),
        "dropout_input": round(dropout / 2, 2),
        "dropout_between": dropout,
        "dropout_output": dropout,
    }
    training = {
        "epochs": epochs,
        "patience": max(3, round(epochs / 4)),
        "lanes": lanes,
        "window": window,
        "learning_rate": round(3e-3 * math.sqrt(min(1.0, 384 / hidden)), 5),
        "weight_decay": 0.5,
        "gradient_clip": 1.0,
        "warmup_epochs": round(min(1.0, 500 / updates), 3),
        "average": round(1 - 1 / min(max(epochs * updates / 20, 10), 500), 4),  # over a twentieth of the run
        "calibrate": True,
        "transpose": [-6, 5],
        "unknown_meter": 0.2,  # heard by a tokenizer whose clock, not whose tokens, says the meter
        "seed": 1,
    }
    capped = ", the widest that a CPU trains in reasonable time" if hidden == _WIDEST_ON_CPU == most else ""
    reasons = [
        f"network 2 x {hidden}: about {tokens:,} tokens to learn from ask for {parameters / 1e6:.1f} million "
        f"parameters{capped}",
        f"dropout {dropout}: the fewer tokens, the more",
        f"{epochs} epochs at most, and no more after {training['patience']} without progress: the fewer tokens, the "
        "more often they are seen",
        f"{lanes} lanes of {window} tokens: {updates:,.0f} updates an epoch from {pieces} pieces",
    ]
    return network, training, reasons
