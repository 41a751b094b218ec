"""What a tokenizer keeps of the music: a song against what comes back from its tokens."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from music.score import TICKS_PER_QUARTER, Note, Score
from training.reproduce.results import Kept

TOLERANCE_TICKS: Final = TICKS_PER_QUARTER // 24
"""Half a step of a grid of 12 to the quarter: nearer than this, two moments are the same."""
VELOCITY_TOLERANCE: Final = 8


def kept(pairs: Iterable[tuple[Score, Score]]) -> Kept:
    """Over pairs of a song and what came back of it; there must be a note in the songs."""
    total = pitches = onsets = durations = velocities = 0
    silent = still_silent = 0
    intervals: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
    for song, back in pairs:
        total += len(song.notes)
        pitches += (Counter(note.pitch for note in song.notes) & Counter(note.pitch for note in back.notes)).total()
        for note, match in _matches(song.notes, back.notes):
            onsets += 1
            durations += abs(note.duration - match.duration) <= TOLERANCE_TICKS
            velocities += abs(note.velocity - match.velocity) <= VELOCITY_TOLERANCE
        rests, rests_back = _rests(song), _rests(back)
        silent += sum(end - start for start, end in rests)
        still_silent += _overlap(rests, rests_back)
        for counts, score in zip(intervals, (song, back), strict=True):
            counts.update(_intervals(score))
    return Kept(
        notes=round(pitches / total, 4),
        onsets=round(onsets / total, 4),
        durations=round(durations / total, 4),
        velocities=round(velocities / total, 4),
        rests=round(still_silent / silent, 4) if silent else 1.0,
        interval_distance=round(_total_variation(*intervals), 4),
    )


def _matches(notes: Iterable[Note], others: Iterable[Note]) -> Iterable[tuple[Note, Note]]:
    """Pairs of notes of one pitch that begin together, each note in one pair at most."""
    waiting: defaultdict[int, list[Note]] = defaultdict(list)
    for other in sorted(others, reverse=True):
        waiting[other.pitch].append(other)  # the earliest last
    for note in sorted(notes):
        candidates = waiting[note.pitch]
        while candidates and candidates[-1].onset < note.onset - TOLERANCE_TICKS:
            candidates.pop()
        if candidates and candidates[-1].onset <= note.onset + TOLERANCE_TICKS:
            yield note, candidates.pop()


def _rests(score: Score) -> list[tuple[int, int]]:
    """Spans (start, end) in ticks between the notes in which nothing sounds."""
    rests: list[tuple[int, int]] = []
    heard_until = 0
    for note in sorted(score.notes):
        if note.onset > heard_until:
            rests.append((heard_until, note.onset))
        heard_until = max(heard_until, note.end)
    return rests


def _overlap(spans: list[tuple[int, int]], others: list[tuple[int, int]]) -> int:
    """Ticks that lie in both; each list is sorted and has no overlaps of its own."""
    total = first = second = 0
    while first < len(spans) and second < len(others):
        (start, end), (other_start, other_end) = spans[first], others[second]
        total += max(0, min(end, other_end) - max(start, other_start))
        if end < other_end:
            first += 1
        else:
            second += 1
    return total


def _intervals(score: Score) -> Iterable[int]:
    """From each onset to the next, in steps of twice the tolerance."""
    onsets = sorted({note.onset for note in score.notes})
    step = 2 * TOLERANCE_TICKS
    return (round((later - earlier) / step) for earlier, later in pairwise(onsets))


def _total_variation(first: Counter[int], second: Counter[int]) -> float:
    """Half the sum of the differences of two distributions: 0 where they agree, 1 where they share nothing."""
    if not first or not second:
        return float(bool(first) != bool(second))
    keys = first.keys() | second.keys()
    return sum(abs(first[key] / first.total() - second[key] / second.total()) for key in keys) / 2
