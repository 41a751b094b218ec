"""What holds a piece together over several bars: its scale, and bars that come back."""

from typing import Final

import numpy as np

from music.score import Score
from training.evaluation.features import MAJOR_SCALES, NoteArrays

WINDOW_BARS: Final = 8
"""Bars of a window in which notes are compared with a scale."""

MEASURES: Final = ("in_scale", "returning_bars")


def form_counts(score: Score) -> dict[str, tuple[int, int]]:
    """For each of `MEASURES`: how many notes or bars have the property, and how many there are."""
    notes = NoteArrays.from_score(score)
    return {"in_scale": notes_in_scale(notes), "returning_bars": returning_bars(notes)}


def notes_in_scale(notes: NoteArrays) -> tuple[int, int]:
    """Notes in the best fitting major scale of their window, and all notes.

    The windows lie side by side. Bars that are left over at the end belong to the last window.
    """
    if not notes.pitch.size:
        return 0, 0
    bars, _ = notes.bars()
    windows = np.minimum(bars // WINDOW_BARS, max((int(bars[-1]) + 1) // WINDOW_BARS - 1, 0))
    keys = windows * 12 + notes.pitch % 12
    counts = np.bincount(keys, minlength=12 * (int(windows[-1]) + 1)).reshape(-1, 12)
    return int((counts @ MAJOR_SCALES.T).max(axis=1).sum()), len(notes.pitch)


def returning_bars(notes: NoteArrays) -> tuple[int, int]:
    """Bars that equal an earlier bar, and all bars in which a note begins.

    Two bars are equal if their notes begin at the same places, with the same pitches and durations. Voices and
    velocities may differ.
    """
    bars, ticks = notes.bars()
    order = np.lexsort((notes.duration, notes.pitch, ticks, bars))
    rows = np.stack([ticks, notes.pitch, notes.duration], axis=1)[order]
    firsts = np.flatnonzero(np.diff(bars[order], prepend=-1))
    contents = [part.tobytes() for part in np.split(rows, firsts[1:])] if len(rows) else []
    return len(contents) - len(set(contents)), len(contents)
