"""Near-duplicates: the same notes in several files, which must not lie on both sides of a split.

A piece is taken as its pitches in the order of (onset, pitch), and compared by runs of intervals, together with which
of the notes are struck at once. No transposition, tempo, dynamics, change of note values or division into voices
changes them. A run that a piece has twice counts once, so repeats that one file plays out and another does not change
nothing either. Such fingerprints of n-grams are the usual way to find copies (Schleimer, Wilkerson and Aiken,
"Winnowing", SIGMOD 2003).
"""

from collections import Counter
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from music.score import TICKS_PER_QUARTER
from training.corpus import CompactScore
from training.disjoint_sets import DisjointSets

_RUN: Final = 12
"""Intervals in a run."""
_FEWEST_RUNS: Final = 12
"""A piece with fewer different runs is compared with nothing: short figures are in many pieces."""
_SAME: Final = 0.5
"""Two pieces are near-duplicates when they share this part of the runs of the one that has fewer."""
_TOGETHER_TICKS: Final = TICKS_PER_QUARTER // 16
"""Notes that begin within this time of each other are struck at once."""
_MOST_PAIRED: Final = 20
"""A run of more pieces than this is counted between the first of them and each other, not between all."""
_MOST_RUNS: Final = 20_000_000
"""In a larger corpus every n-th run by its hash is looked at, so that the comparison fits into memory."""
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)  # odd, its bits well mixed (Knuth, multiplicative hashing)


def near_duplicates(scores: Mapping[str, CompactScore]) -> dict[str, str]:
    """Name of the group, which is that of its first piece, by the name of each piece.

    Two pieces are in one group when they share half of the runs of the one that has fewer, or when each shares that
    with a third one.
    """
    names = sorted(scores)
    runs = [_runs(scores[name].notes) for name in names]
    total = sum(len(own) for own in runs)
    if total > _MOST_RUNS:
        step = np.uint64(-(-total // _MOST_RUNS))
        runs = [own[own % step == 0] for own in runs]
    sizes = [len(own) for own in runs]
    sets = DisjointSets(len(names))
    for (first, second), count in _shared(runs).items():
        if count >= _SAME * min(sizes[first], sizes[second]):
            sets.join(first, second)
    return {name: names[sets.find(index)] for index, name in enumerate(names)}


def _runs(notes: NDArray[np.int32]) -> NDArray[np.uint64]:
    """Hashes of the different runs of a piece, sorted; notes are (n, 5), onset and pitch in columns 0 and 2."""
    if len(notes) <= _RUN:
        return np.empty(0, np.uint64)
    onsets, pitches = notes[:, 0], notes[:, 2]
    order = np.lexsort((pitches, onsets))
    onsets, pitches = onsets[order], pitches[order]
    begins = np.diff(onsets, prepend=onsets[0]) > _TOGETHER_TICKS
    moments = np.cumsum(begins)
    chords = np.unique(moments * 128 + pitches)  # in the order of (moment, pitch), a unison once
    moments, pitches = np.divmod(chords, 128)
    steps = (np.diff(pitches) + 128) * 2 + (np.diff(moments) > 0)
    if len(steps) < _RUN:
        return np.empty(0, np.uint64)
    windows = np.lib.stride_tricks.sliding_window_view(steps.astype(np.uint64), _RUN)
    hashes = np.zeros(len(windows), np.uint64)
    for place in range(_RUN):
        hashes = (hashes ^ windows[:, place]) * _MULTIPLIER
        hashes ^= hashes >> np.uint64(29)
    hashes = np.unique(hashes)
    return hashes if len(hashes) >= _FEWEST_RUNS else np.empty(0, np.uint64)


def _shared(runs: list[NDArray[np.uint64]]) -> Counter[tuple[int, int]]:
    """How many runs two pieces share, for pairs that share any; the lower index comes first."""
    shared: Counter[tuple[int, int]] = Counter()
    if not runs:
        return shared
    hashes = np.concatenate(runs)
    owners = np.repeat(np.arange(len(runs)), [len(own) for own in runs])
    order = np.argsort(hashes, kind="stable")  # owners of one run stay in order
    hashes, owners = hashes[order], owners[order]
    bounds = np.flatnonzero(np.concatenate(([True], hashes[1:] != hashes[:-1], [True])))
    several = np.flatnonzero(np.diff(bounds) > 1)
    for first, last in zip(bounds[several].tolist(), bounds[several + 1].tolist(), strict=True):
        holders = owners[first:last].tolist()
        if len(holders) > _MOST_PAIRED:
            shared.update((holders[0], other) for other in holders[1:])
        else:
            shared.update((one, other) for place, one in enumerate(holders) for other in holders[place + 1 :])
    return shared
