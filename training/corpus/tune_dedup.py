"""Groups the versions of one folk tune (a tune family). A group is in one split.

A folk tune exists in many versions, with other names, keys and ornaments. The versions share the pitches on the beats.
A tune is therefore compared by n-grams of the intervals between the pitches on successive quarters, which transposition
does not change, and also by n-grams of the intervals from note to note, for versions whose bars do not match. This is
the usual comparison of melodies (Uitdenbogerd and Zobel, ACM Multimedia 1999).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from music.score import TICKS_PER_QUARTER
from training.corpus.dedup import DisjointSets
from training.corpus.store import CompactScore

NGram = tuple[int, ...]

_BEAT_NGRAM: Final = 6  # intervals: seven quarters, nearly two bars of a reel
_NOTE_NGRAM: Final = 8
_RELATED: Final = 0.15
_SAME: Final = 0.8
_MAX_TUNES: Final = 60
"""An n-gram that more tunes than this have is ignored."""


@dataclass(frozen=True, slots=True)
class TuneGroups:
    """Groups of tunes, and the tunes that repeat another one."""

    group: dict[str, str]
    """Name of the group (that of its first tune) by name of the tune."""
    duplicates: dict[str, str]
    """Name of an earlier tune by name of a tune that is nearly the same."""


def group_tunes(scores: Mapping[str, CompactScore]) -> TuneGroups:
    """Group monophonic tunes that share many n-grams.

    Two tunes are related if they share 15 % of the shorter tune's n-grams of six intervals from quarter to quarter, or
    of its n-grams of eight intervals from note to note. A group holds all tunes that are related directly or through
    others. A tune duplicates an earlier tune if they share 80 % of the longer tune's n-grams of both kinds.
    """
    names = sorted(scores)
    pitches = [scores[name].notes for name in names]
    pickups = [int(scores[name].header[3]) for name in names]
    on_beats = [
        _ngrams(_on_quarters(notes, pickup), _BEAT_NGRAM) for notes, pickup in zip(pitches, pickups, strict=True)
    ]
    by_note = [_ngrams(notes[:, 2], _NOTE_NGRAM) for notes in pitches]
    shared = [_shared(on_beats), _shared(by_note)]
    sets = DisjointSets(len(names))
    for counts, ngrams in zip(shared, (on_beats, by_note), strict=True):
        for (first, second), count in counts.items():
            if count >= _RELATED * min(len(ngrams[first]), len(ngrams[second])):
                sets.join(first, second)
    duplicates: dict[str, str] = {}
    for (first, second), count in sorted(shared[0].items()):
        enough = count >= _SAME * max(len(on_beats[first]), len(on_beats[second]))
        also = shared[1].get((first, second), 0) >= _SAME * max(len(by_note[first]), len(by_note[second]))
        if enough and also and names[first] not in duplicates:
            duplicates.setdefault(names[second], names[first])
    return TuneGroups({name: names[sets.find(index)] for index, name in enumerate(names)}, duplicates)


def _on_quarters(notes: NDArray[np.int32], pickup_ticks: int) -> NDArray[np.int32]:
    """Pitch of the latest note at every quarter, counted from the bar lines; notes are (n, 5)."""
    onsets = notes[:, 0]
    end = int(notes[-1, 0] + notes[-1, 1])
    quarters = np.arange(pickup_ticks % TICKS_PER_QUARTER, end, TICKS_PER_QUARTER)
    places = np.maximum(np.searchsorted(onsets, quarters, side="right") - 1, 0)
    pitches: NDArray[np.int32] = notes[places, 2]
    return pitches


def _ngrams(pitches: Sequence[int] | NDArray[np.int32], length: int) -> set[NGram]:
    intervals = np.diff(np.asarray(pitches)).tolist()
    return {tuple(intervals[start : start + length]) for start in range(len(intervals) - length + 1)}


def _shared(ngrams: Iterable[set[NGram]]) -> Counter[tuple[int, int]]:
    """Number of n-grams that two tunes share, for pairs that share any; the lower index comes first."""
    tunes: dict[NGram, list[int]] = defaultdict(list)
    for index, own in enumerate(ngrams):
        for ngram in own:
            tunes[ngram].append(index)
    shared: Counter[tuple[int, int]] = Counter()
    for indices in tunes.values():
        if len(indices) <= _MAX_TUNES:
            shared.update((first, second) for place, first in enumerate(indices) for second in indices[place + 1 :])
    return shared
