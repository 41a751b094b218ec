"""How many generated pieces close: at lengths that were asked for, and at the length that the model chooses.

`training.endings` says what it means to close. Not all real music does, so real pieces are measured as well.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from music.bundle import Bundle
from music.score import Score, ScoreAttributes
from training.endings import ending_check
from training.evaluation.record import Endings
from training.evaluation.sampling import Prompt, defaults_of, sample_pieces

LENGTHS: Final = (8, 12, 16, 24)
"""Lengths in bars of the model's first meter."""
PIECES: Final = 96
"""Pieces of each length, if an evaluation has as many samples."""


def measure_endings(
    bundle: Bundle, held_out: Sequence[Score], *, pieces: int, seed: int, threads: int = 0, progress: bool = False
) -> Endings | None:
    """The share of pieces that close; None if that is not defined for the bundle's tokenizer.

    Args:
        bundle: writes pieces of each of `LENGTHS`, and of the length that it chooses, at its default sampling.
        held_out: real pieces.
        pieces: number of pieces of each length.
        seed: of the first piece.
        threads: CPU threads; 0 for the number of usable cores.
        progress: whether to show a progress bar.

    Raises:
        EngineError: the model does not run.
    """
    tokenizer, check = bundle.tokenizer, ending_check(bundle.tokenizer)
    if check is None:
        return None
    meter = tokenizer.positions.meters[0]
    start = tokenizer.positions.start(meter)
    attributes = ScoreAttributes(meter=meter)
    lengths = [*(bars * meter.bar_ticks for bars in LENGTHS if bars * meter.bar_ticks <= _max_ticks(bundle)), None]
    prompts = [
        Prompt(_max_ticks(bundle) if ticks is None else ticks, start, attributes, is_open=ticks is None)
        for ticks in lengths
        for _ in range(pieces)
    ]
    samples = sample_pieces(
        bundle, prompts, [defaults_of(bundle)] * len(prompts), seed=seed, threads=threads, progress=progress
    )
    closed = np.array([check(sample.score) for sample in samples]).reshape(len(lengths), pieces).mean(axis=1).tolist()
    return Endings(
        pieces=pieces,
        by_bars=dict(zip(LENGTHS, closed[:-1], strict=False)),
        open_length=closed[-1],
        held_out=float(np.mean([check(score) for score in held_out])),
    )


def _max_ticks(bundle: Bundle) -> int:
    return bundle.max_steps * bundle.tokenizer.step_ticks
