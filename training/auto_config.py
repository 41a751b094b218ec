"""Configuration `auto`: chooses tokenizer, network size and schedule for the training pieces of a corpus.

The number of parameters grows with the number of tokens to the power 0.4. So it does in the recurrent language models
of Merity et al. (2018, "Regularizing and Optimizing LSTM Language Models" and "An Analysis of Neural Language Modeling
at Multiple Scales"), whose sizes were searched for: 24 million parameters for 0.9 million tokens (Penn Treebank), 33
for 2.1 (WikiText-2) and 151 for 103 (WikiText-103). Music has a hundredth of their vocabulary, so it needs fewer
parameters: the anchor is two million for the 250,000 tokens of the chorales. Dropout, epochs and the number of updates
start from the same anchor.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from music.errors import plain_text
from music.score import TICKS_PER_QUARTER, Score
from music.tokenizers import Tokenizer, tokenizer_class
from training.config import parse_config
from training.corpus.store import Corpus, Split
from training.errors import CorpusError

AUTO: Final = "auto"
"""Name of this configuration on the command line."""

_DESCRIPTION_CHARACTERS: Final = 500
_SAMPLED_PIECES: Final = 64
_MAX_GRID_VOICES: Final = 4
_MIN_KEPT: Final = 0.98
_GRID_TICKS: Final = TICKS_PER_QUARTER // 4
_MAX_METERS: Final = 8
_MAX_QUARTERS: Final = 1024
"""Longest piece that a request may ask for: 256 bars of 4/4."""
_CLOSING_TEMPERATURE: Final = 0.5
_CHORALE_ORDER: Final = [0, 3, 2, 1]  # soprano, bass, tenor, alto: the outer voices frame the inner ones

_ANCHOR_TOKENS: Final = 250_000
_ANCHOR_PARAMETERS: Final = 2_000_000
_EXPONENT: Final = 0.4
_PARAMETERS_PER_SQUARED_WIDTH: Final = 40 / 3
"""Of two layers of width H with inputs of width H/3: 4 H (H/3 + H) + 4 H (H + H)."""
_WIDTHS: Final = (128, 1024)
_MAX_CPU_WIDTH: Final = 512


@dataclass(frozen=True, slots=True)
class ConfigChoice:
    """The tables of a configuration, as in its TOML file, and the reasons for them."""

    tables: dict[str, dict[str, Any]]
    reasons: list[str]
    """One line for each choice."""


def sample_scores(corpus: Corpus) -> list[Score]:
    """Some training pieces, evenly chosen, without those that have no notes."""
    return [piece.score for piece in corpus.sample(Split.TRAIN, _SAMPLED_PIECES) if piece.score.notes]


def estimate_tokens(corpus: Corpus, sample: Sequence[Score], tokenizer: Tokenizer) -> int:
    """The number of tokens of all training pieces. Only the sample is encoded."""
    share = sum(len(score.notes) for score in sample) / corpus.notes(Split.TRAIN)
    return round(sum(len(tokenizer.encode(score).tokens) for score in sample) / share)


def choose_config(corpus: Corpus, *, device: str) -> ConfigChoice:
    """Choose a configuration for the training pieces of a corpus. The choice is deterministic.

    Raises:
        CorpusError: the training pieces have no notes.
    """
    sample = sample_scores(corpus)
    if not sample:
        raise CorpusError("the training pieces have no notes, so no configuration can be chosen")
    pieces = corpus.count(Split.TRAIN)
    tokenizer_table, tokenizer, reason = _choose_tokenizer(sample)
    tokens = estimate_tokens(corpus, sample, tokenizer)
    network, training, reasons = choose_sizes(tokens, pieces, device)
    return ConfigChoice(
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
                "max_steps": _MAX_QUARTERS * TICKS_PER_QUARTER // tokenizer.step_ticks,
                "closing_temperature": _CLOSING_TEMPERATURE,
            },
        },
        [reason, *reasons],
    )


def check_overrides(overrides: dict[str, str]) -> None:
    """Check overrides of a configuration that is not chosen yet.

    Raises:
        ConfigurationError: a key is unknown, or a value is out of range.
    """
    network, training, _ = choose_sizes(_ANCHOR_TOKENS, 100, "cpu")
    tables = {"tokenizer": {"name": "events"}, "network": network, "training": training, "bundle": {"description": ""}}
    parse_config(tables, AUTO, overrides)


def _choose_tokenizer(sample: Sequence[Score]) -> tuple[dict[str, Any], Tokenizer, str]:
    """`grid` if it keeps nearly all notes unchanged, else `events`: its table, the fitted tokenizer, the reason."""
    voices = Counter(score.voices for score in sample).most_common(1)[0][0]
    kept = 0.0
    if voices <= _MAX_GRID_VOICES:
        parameters: dict[str, Any] = {"voices": voices}
        if voices == len(_CHORALE_ORDER):
            parameters["voice_order"] = _CHORALE_ORDER
        meters = _common_meters(sample)
        if meters:
            parameters["meters"] = meters
        grid = tokenizer_class("grid").fit(parameters, sample)
        same = sum(
            (_note_counts(score) & _note_counts(grid.decode(grid.encode(score).tokens))).total() for score in sample
        )
        kept = same / sum(len(score.notes) for score in sample)
        if kept >= _MIN_KEPT:
            lines = "a single line" if voices == 1 else f"{voices} voices of single notes"
            reason = f"tokenizer grid, {voices} voices: {kept:.1%} of the notes are {lines} on 16ths"
            return {"name": "grid", "parameters": parameters}, grid, reason
    events = tokenizer_class("events").fit({}, sample)
    reason = (
        f"a grid of 16ths would keep {kept:.1%} of the notes unchanged"
        if voices <= _MAX_GRID_VOICES
        else f"{voices} voices"
    )
    return {"name": "events", "parameters": {}}, events, f"tokenizer events: {reason}"


def _note_counts(score: Score) -> Counter[tuple[int, int, int, int]]:
    """The notes without their velocities, which a grid does not keep."""
    return Counter((note.onset, note.duration, note.pitch, note.voice) for note in score.notes)


def _common_meters(sample: Sequence[Score]) -> list[str]:
    """Meters that fit a grid of 16ths and that at least a fiftieth of the pieces have, the most common first."""
    counts = Counter(score.meter for score in sample if score.meter and score.meter.bar_ticks % _GRID_TICKS == 0)
    return [str(meter) for meter, count in counts.most_common(_MAX_METERS) if count >= len(sample) / 50]


def choose_sizes(tokens: int, pieces: int, device: str) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """The tables `network` and `training`, and one line for each choice.

    Args:
        tokens: of all training pieces.
        pieces: number of training pieces.
        device: `cpu` or `cuda`.
    """
    scale = tokens / _ANCHOR_TOKENS
    parameters = _ANCHOR_PARAMETERS * scale**_EXPONENT
    least, most = _WIDTHS
    most = most if device == "cuda" else _MAX_CPU_WIDTH
    hidden = min(max(64 * round(math.sqrt(parameters / _PARAMETERS_PER_SQUARED_WIDTH) / 64), least), most)
    dropout = round(min(max(0.5 - 0.15 * math.log10(scale), 0.1), 0.6), 2)
    epochs = min(max(round(28 * scale**-_EXPONENT), 8), 100)
    window = 128 if tokens < 2_000_000 else 256
    batch_size = 2 ** round(math.log2(max(tokens / (100 * window), 1)))  # at least a hundred updates per epoch
    batch_size = min(max(batch_size, 8), 256 if device == "cuda" else 64, max(pieces, 1))
    updates = max(tokens / (batch_size * window), 1)
    network = {
        "layers": 2,
        "hidden": hidden,
        "embedding": max(hidden // 3 // 16 * 16, 32),
        "length_input": True,
        "dropout_input": round(dropout / 2, 2),
        "dropout_between": dropout,
        "dropout_output": dropout,
    }
    training = {
        "epochs": epochs,
        "patience": max(3, round(epochs / 4)),
        "batch_size": batch_size,
        "window": window,
        "learning_rate": round(3e-3 * math.sqrt(min(1.0, 384 / hidden)), 5),
        "weight_decay": 0.5,
        "gradient_clip": 1.0,
        "warmup_epochs": round(min(1.0, 500 / updates), 3),
        "ema_decay": round(1 - 1 / min(max(epochs * updates / 20, 10), 500), 4),  # spans a twentieth of the run
        "calibrate": True,
        "transpose": [-6, 5],
        "meter_dropout": 0.2,  # for a tokenizer whose positions, not tokens, say the meter
        "seed": 1,
    }
    capped = "; this is the largest width for a CPU" if hidden == _MAX_CPU_WIDTH == most else ""
    reasons = [
        f"network 2 x {hidden}: about {tokens:,} tokens, so {parameters / 1e6:.1f} million parameters{capped}",
        f"dropout {dropout}: more for fewer tokens",
        f"at most {epochs} epochs, until {training['patience']} bring no better validation loss: more for fewer tokens",
        f"batches of {batch_size} rows x {window} tokens: {updates:,.0f} updates per epoch from {pieces} pieces",
    ]
    return network, training, reasons
