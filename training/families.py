"""Tune families: the settings of one tune, which must not lie on both sides of a split.

Folk tunes come in many settings: under other names, in other keys, with other ornaments. What they share is where
the melody stands on the beats. So a tune is reduced to the pitch that sounds on every quarter, and compared by runs
of intervals, which no transposition changes; and, where the bars of two settings do not match, by runs of intervals
from note to note. This is the usual n-gram comparison of melodies (Uitdenbogerd and Zobel, ACM Multimedia 1999).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from music.score import TICKS_PER_QUARTER
from training.corpus import CompactScore
from training.disjoint_sets import DisjointSets

Run = tuple[int, ...]

_BEAT_RUN: Final = 6  # intervals: seven quarters, near two bars of a reel
_NOTE_RUN: Final = 8
_RELATED: Final = 0.15
_SAME: Final = 0.8
_COMMONPLACE: Final = 60
"""A run that more tunes than this have says nothing of their kinship."""


@dataclass(frozen=True, slots=True)
class Families:
    """Which tunes belong together."""

    of: dict[str, str]
    """Name of the family, which is that of its first tune, by name of the tune."""
    repeats: dict[str, str]
    """Name of an earlier tune, by name of a tune that is nearly the same."""


def tune_families(scores: Mapping[str, CompactScore]) -> Families:
    """Group tunes of one voice that share much.

    Two are related when they share 15 % of the shorter one's runs of six intervals from quarter to quarter, or of
    its runs of eight intervals from note to note; relatives of relatives are one family. A tune repeats an earlier
    one when they share 80 % of the longer one's runs of both kinds.
    """
    names = sorted(scores)
    pitches = [scores[name].notes for name in names]
    pickups = [int(scores[name].header[3]) for name in names]
    on_beats = [_runs(_on_quarters(notes, pickup), _BEAT_RUN) for notes, pickup in zip(pitches, pickups, strict=True)]
    by_note = [_runs(notes[:, 2], _NOTE_RUN) for notes in pitches]
    shared = [_shared(on_beats), _shared(by_note)]
    sets = DisjointSets(len(names))
    for counts, runs in zip(shared, (on_beats, by_note), strict=True):
        for (first, second), count in counts.items():
            if count >= _RELATED * min(len(runs[first]), len(runs[second])):
                sets.join(first, second)
    repeats: dict[str, str] = {}
    for (first, second), count in sorted(shared[0].items()):
        enough = count >= _SAME * max(len(on_beats[first]), len(on_beats[second]))
        also = shared[1].get((first, second), 0) >= _SAME * max(len(by_note[first]), len(by_note[second]))
        if enough and also and names[first] not in repeats:
            repeats.setdefault(names[second], names[first])
    return Families({name: names[sets.find(index)] for index, name in enumerate(names)}, repeats)


def _on_quarters(notes: NDArray[np.int32], pickup_ticks: int) -> NDArray[np.int32]:
    """Pitch of the note last begun, on every quarter counted from the bar lines; notes are (n, 5)."""
    onsets = notes[:, 0]
    end = int(notes[-1, 0] + notes[-1, 1])
    quarters = np.arange(pickup_ticks % TICKS_PER_QUARTER, end, TICKS_PER_QUARTER)
    places = np.maximum(np.searchsorted(onsets, quarters, side="right") - 1, 0)
    pitches: NDArray[np.int32] = notes[places, 2]
    return pitches


def _runs(pitches: Sequence[int] | NDArray[np.int32], length: int) -> set[Run]:
    intervals = np.diff(np.asarray(pitches)).tolist()
    return {tuple(intervals[start : start + length]) for start in range(len(intervals) - length + 1)}


def _shared(runs: Iterable[set[Run]]) -> Counter[tuple[int, int]]:
    """How many runs two tunes share, for every pair that shares any; the lower index comes first."""
    holders: dict[Run, list[int]] = defaultdict(list)
    for index, own in enumerate(runs):
        for run in own:
            holders[run].append(index)
    shared: Counter[tuple[int, int]] = Counter()
    for indices in holders.values():
        if len(indices) <= _COMMONPLACE:
            shared.update((first, second) for place, first in enumerate(indices) for second in indices[place + 1 :])
    return shared
