"""How many generated pieces close: at lengths that were asked for, and at the length that the model chooses.

`training.endings` says what it means to close. Not all real music does, so real pieces are measured as well.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from music.bundle import Bundle
from music.score import Meter, Score
from music.tokenizers import Tokenizer
from training.endings import ending_check
from training.evaluation.record import Endings
from training.evaluation.sampling import Sample, defaults_of, new_piece, sample_pieces

LENGTHS: Final = (4, 8, 12, 16, 24)
"""Lengths in bars."""
PIECES: Final = 96
"""Pieces of each length, if an evaluation has as many samples."""
MAX_METERS: Final = 4
_MIN_METER_SHARE: Final = 0.1
"""Share of the held-out pieces in a common meter."""


def measure_endings(
    bundle: Bundle, held_out: Sequence[Score], *, pieces: int, seed: int, threads: int = 0, progress: bool = False
) -> Endings | None:
    """The share of pieces that close; None if that is not defined for the bundle's tokenizer.

    Args:
        bundle: writes pieces of each of `LENGTHS`, and of the length that it chooses, at its default sampling and the
            service's defaults of tempo, program and dynamics.
        held_out: real pieces; the pieces of each length have their common meters, in turn.
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
    meters = common_meters(tokenizer, held_out)
    max_ticks = bundle.max_steps * tokenizer.step_ticks
    longest = max(meter.bar_ticks for meter in meters)
    lengths = [*(bars for bars in LENGTHS if bars * longest <= max_ticks), None]
    by_length = [meters[index % len(meters)] for index in range(pieces)]
    prompts = [
        new_piece(bundle, meter, None if bars is None else bars * meter.bar_ticks)
        for bars in lengths
        for meter in by_length
    ]
    samples = sample_pieces(
        bundle, prompts, [defaults_of(bundle)] * len(prompts), seed=seed, threads=threads, progress=progress
    )
    closed = np.array([closes(sample, check) for sample in samples]).reshape(len(lengths), pieces).mean(axis=1).tolist()
    shorter = [
        sample.score.length_ticks < prompt.length_ticks
        for sample, prompt in zip(samples, prompts, strict=True)
        if not prompt.is_open
    ]
    return Endings(
        pieces=pieces,
        meters=tuple(map(str, meters)),
        by_bars=dict(zip(LENGTHS, closed[:-1], strict=False)),
        open_length=closed[-1],
        held_out=float(np.mean([check(score) for score in held_out])),
        shorter=float(np.mean(shorter)) if shorter else 0.0,
    )


def closes(sample: Sample, check: Callable[[Score], bool]) -> bool:
    """Whether a generated piece closes: `check` says so, and its end cuts no note."""
    return not sample.cut_notes and check(sample.score)


def common_meters(tokenizer: Tokenizer, scores: Sequence[Score]) -> list[Meter]:
    """Up to `MAX_METERS` meters of the tokenizer that at least a tenth of the scores has, the most frequent first.

    The tokenizer's first meter, if there is none.
    """
    known = tokenizer.positions.meters
    counts = Counter(score.meter for score in scores if score.meter in known)
    common = [meter for meter in known if counts[meter] >= _MIN_METER_SHARE * len(scores) and counts[meter]]
    return sorted(common, key=lambda meter: -counts[meter])[:MAX_METERS] or [known[0]]
