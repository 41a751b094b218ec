"""Voice-leading faults: parallel fifths and octaves, crossed voices, notes out of a voice's range."""

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from music.score import Score

FAULTS: Final = ("parallel_fifths", "parallel_octaves", "crossings", "out_of_range")
SILENT: Final = -1
_FIFTH: Final = 7

VoiceRange = tuple[int, int]
"""Lowest and highest MIDI pitch of a voice."""


def sonorities(score: Score, voices: int, step_ticks: int) -> NDArray[np.int64]:
    """Sounding pitch of each voice at each step, `SILENT` for a rest: (steps, voices)."""
    grid = np.full((-(-score.length_ticks // step_ticks), voices), SILENT, np.int64)
    for note in score.notes:
        grid[note.onset // step_ticks : -(-note.end // step_ticks), note.voice] = note.pitch
    return grid


def ranges(scores: Iterable[Score], voices: int) -> list[VoiceRange]:
    """Range of each voice over all pieces. A voice without notes has an empty range."""
    low, high = [128] * voices, [SILENT] * voices
    for score in scores:
        for note in score.notes:
            low[note.voice] = min(low[note.voice], note.pitch)
            high[note.voice] = max(high[note.voice], note.pitch)
    return list(zip(low, high, strict=True))


def faults(grid: NDArray[np.int64], voice_ranges: Sequence[VoiceRange]) -> dict[str, int]:
    """Count the faults in sonorities (steps, voices), by the names in `FAULTS`.

    A parallel: two voices move in the same direction from one step to the next, and are a perfect fifth (or an
    octave or unison, compounds included) apart in both. Each pair of voices counts. Crossings: steps at which a
    voice sounds below the next lower voice. Out of range: steps of each voice.
    """
    counts = dict.fromkeys(FAULTS, 0)
    before, after = grid[:-1], grid[1:]
    motion = np.where((before != SILENT) & (after != SILENT), np.sign(after - before), 0)
    for upper, lower in combinations(range(grid.shape[1]), 2):
        together = (motion[:, upper] == motion[:, lower]) & (motion[:, upper] != 0)
        first = (before[:, upper] - before[:, lower]) % 12
        second = (after[:, upper] - after[:, lower]) % 12
        counts["parallel_fifths"] += int((together & (first == _FIFTH) & (second == _FIFTH)).sum())
        counts["parallel_octaves"] += int((together & (first == 0) & (second == 0)).sum())
    above, below = grid[:, :-1], grid[:, 1:]
    crossed = (above != SILENT) & (below != SILENT) & (above < below)
    counts["crossings"] = int(crossed.any(axis=1).sum())
    low, high = np.array(voice_ranges).T
    counts["out_of_range"] = int(((grid != SILENT) & ((grid < low) | (grid > high))).sum())
    return counts
