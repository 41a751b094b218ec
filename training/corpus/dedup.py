"""Near-duplicates: the same notes in several files. They go to the same split.

Pieces are compared by n-grams of the intervals between successive pitches, in the order of (onset, pitch), together
with which notes start at once. Transposition, tempo, dynamics, note values and the division into voices do not change
them. An n-gram counts once a piece, so a repeat that one file writes out and another does not makes no difference. The
method is the usual one for finding copies (Schleimer, Wilkerson and Aiken, "Winnowing", SIGMOD 2003).
"""

from collections import Counter
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from music.score import TICKS_PER_QUARTER
from training.corpus.store import CompactScore

_NGRAM: Final = 12
"""Intervals of an n-gram."""
_MIN_NGRAMS: Final = 12
"""A piece with fewer different n-grams is not compared: short figures occur in many pieces."""
_SAME: Final = 0.5
"""Two pieces are near-duplicates if they share this part of the n-grams of the piece that has fewer."""
_SIMULTANEOUS_TICKS: Final = TICKS_PER_QUARTER // 16
"""Notes whose onsets are at most this far apart start at once."""
_MAX_PAIRED: Final = 20
"""An n-gram of more pieces than this is counted between the first of them and each other one, not for all pairs."""
_MAX_NGRAMS: Final = 20_000_000
"""In a larger corpus only every k-th n-gram by its hash is compared, so that the comparison fits into memory."""
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)  # odd, its bits well mixed (Knuth, multiplicative hashing)


class DisjointSets:
    """Disjoint sets of the indices 0 to n - 1 (union-find); the lowest index represents a set."""

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))

    def find(self, index: int) -> int:
        """The lowest index in the set of `index`."""
        parents = self._parents
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    def join(self, first: int, second: int) -> None:
        """Merge the sets of two indices."""
        a, b = self.find(first), self.find(second)
        self._parents[max(a, b)] = min(a, b)


def near_duplicates(scores: Mapping[str, CompactScore]) -> dict[str, str]:
    """Group pieces that are near-duplicates.

    Two pieces are in one group if they share half of the n-grams of the piece that has fewer, or if each of them does
    so with a third piece.

    Returns:
        The name of the group (that of its first piece) by the name of each piece.
    """
    names = sorted(scores)
    ngrams = [_ngrams(scores[name].notes) for name in names]
    total = sum(len(own) for own in ngrams)
    if total > _MAX_NGRAMS:
        step = np.uint64(-(-total // _MAX_NGRAMS))
        ngrams = [own[own % step == 0] for own in ngrams]
    sizes = [len(own) for own in ngrams]
    sets = DisjointSets(len(names))
    for (first, second), count in _shared(ngrams).items():
        if count >= _SAME * min(sizes[first], sizes[second]):
            sets.join(first, second)
    return {name: names[sets.find(index)] for index, name in enumerate(names)}


def _ngrams(notes: NDArray[np.int32]) -> NDArray[np.uint64]:
    """Hashes of the different n-grams of a piece, sorted; notes are (n, 5), onset and pitch in columns 0 and 2."""
    if len(notes) <= _NGRAM:
        return np.empty(0, np.uint64)
    onsets, pitches = notes[:, 0], notes[:, 2]
    order = np.lexsort((pitches, onsets))
    onsets, pitches = onsets[order], pitches[order]
    starts_chord = np.diff(onsets, prepend=onsets[0]) > _SIMULTANEOUS_TICKS
    chord_indices = np.cumsum(starts_chord)
    chords = np.unique(chord_indices * 128 + pitches)  # in the order of (chord, pitch), a unison once
    chord_indices, pitches = np.divmod(chords, 128)
    steps = (np.diff(pitches) + 128) * 2 + (np.diff(chord_indices) > 0)
    if len(steps) < _NGRAM:
        return np.empty(0, np.uint64)
    windows = np.lib.stride_tricks.sliding_window_view(steps.astype(np.uint64), _NGRAM)
    hashes = np.zeros(len(windows), np.uint64)
    for place in range(_NGRAM):
        hashes = (hashes ^ windows[:, place]) * _MULTIPLIER
        hashes ^= hashes >> np.uint64(29)
    hashes = np.unique(hashes)
    return hashes if len(hashes) >= _MIN_NGRAMS else np.empty(0, np.uint64)


def _shared(ngrams: list[NDArray[np.uint64]]) -> Counter[tuple[int, int]]:
    """Number of n-grams that two pieces share, for pairs that share any; the lower index comes first."""
    shared: Counter[tuple[int, int]] = Counter()
    if not ngrams:
        return shared
    hashes = np.concatenate(ngrams)
    owners = np.repeat(np.arange(len(ngrams)), [len(own) for own in ngrams])
    order = np.argsort(hashes, kind="stable")  # the owners of one n-gram stay in order
    hashes, owners = hashes[order], owners[order]
    bounds = np.flatnonzero(np.concatenate(([True], hashes[1:] != hashes[:-1], [True])))
    several = np.flatnonzero(np.diff(bounds) > 1)
    for first, last in zip(bounds[several].tolist(), bounds[several + 1].tolist(), strict=True):
        pieces = owners[first:last].tolist()
        if len(pieces) > _MAX_PAIRED:
            shared.update((pieces[0], other) for other in pieces[1:])
        else:
            shared.update((one, other) for place, one in enumerate(pieces) for other in pieces[place + 1 :])
    return shared
