"""Repetition: a sample repeats one token for longer than real pieces do."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from music.tokenizers import GridTokenizer, Tokenizer
from training.evaluation.pieces import onset_tokens

TEMPERATURES: Final = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2)
PERCENTILE: Final = 99.9

Tokens = NDArray[np.integer[Any]]


class RunLength:
    """Measures how long a piece repeats one token without a break.

    In `grid` each voice is measured by itself, so a held chord counts once and not once for each voice. In other
    tokens the whole sequence is measured, and also its onset tokens alone.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._voices = tokenizer.voices if isinstance(tokenizer, GridTokenizer) else None
        self._onsets = onset_tokens(tokenizer)

    def longest(self, tokens: Tokens) -> int:
        """Tokens of the longest run in a piece, (n,) without the end token."""
        if self._voices is None:
            return max(_longest_run(tokens), _longest_run(tokens[self._onsets[tokens]]))
        return max(_longest_run(tokens[voice :: self._voices]) for voice in range(self._voices))


def bound(real_runs: Sequence[int]) -> float:
    """The run that one real piece in a thousand exceeds, from the longest run of each real piece."""
    return float(np.percentile(real_runs, PERCENTILE))


def share_above(runs: Iterable[int], limit: float) -> float:
    """Share of pieces whose longest run is above the limit."""
    return float(np.mean([run > limit for run in runs]))


def _longest_run(tokens: Tokens) -> int:
    if not tokens.size:
        return 0
    changes = np.flatnonzero(tokens[1:] != tokens[:-1]) + 1
    return int(np.diff(np.concatenate([[0], changes, [tokens.size]])).max())
