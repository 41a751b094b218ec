"""Round-trip fidelity of a tokenizer: songs compared with their decoded tokens."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from music.score import TICKS_PER_QUARTER, Note, Score
from research.reproduction.record import Fidelity

TOLERANCE_TICKS: Final = TICKS_PER_QUARTER // 24
"""Times that differ by no more are equal: half a step of a grid with 12 steps to the quarter."""
VELOCITY_TOLERANCE: Final = 8


def round_trip_fidelity(pairs: Iterable[tuple[Score, Score]]) -> Fidelity:
    """Compare pairs of a song and its decoded tokens. The songs must hold at least one note."""
    total = pitches = onsets = durations = velocities = 0
    silent = silent_in_both = 0
    intervals: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
    for song, decoded in pairs:
        total += len(song.notes)
        pitches += (Counter(note.pitch for note in song.notes) & Counter(note.pitch for note in decoded.notes)).total()
        for note, match in _matches(song.notes, decoded.notes):
            onsets += 1
            durations += abs(note.duration - match.duration) <= TOLERANCE_TICKS
            velocities += abs(note.velocity - match.velocity) <= VELOCITY_TOLERANCE
        rests, decoded_rests = _rests(song), _rests(decoded)
        silent += sum(end - start for start, end in rests)
        silent_in_both += _overlap(rests, decoded_rests)
        for counts, score in zip(intervals, (song, decoded), strict=True):
            counts.update(_intervals(score))
    return Fidelity(
        notes=round(pitches / total, 4),
        onsets=round(onsets / total, 4),
        durations=round(durations / total, 4),
        velocities=round(velocities / total, 4),
        rests=round(silent_in_both / silent, 4) if silent else 1.0,
        interval_distance=round(_total_variation(*intervals), 4),
    )


def _matches(notes: Iterable[Note], others: Iterable[Note]) -> Iterable[tuple[Note, Note]]:
    """Pairs of notes of equal pitch and onset. Each note is in at most one pair."""
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
    """Spans (start, end) in ticks between notes in which nothing sounds."""
    rests: list[tuple[int, int]] = []
    sounds_until = 0
    for note in sorted(score.notes):
        if note.onset > sounds_until:
            rests.append((sounds_until, note.onset))
        sounds_until = max(sounds_until, note.end)
    return rests


def _overlap(spans: list[tuple[int, int]], others: list[tuple[int, int]]) -> int:
    """Ticks that lie in both lists. Each list is sorted and its spans do not overlap."""
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
    """Times from each onset to the next, in units of twice the tolerance."""
    onsets = sorted({note.onset for note in score.notes})
    step = 2 * TOLERANCE_TICKS
    return (round((later - earlier) / step) for earlier, later in pairwise(onsets))


def _total_variation(first: Counter[int], second: Counter[int]) -> float:
    """Total variation distance of two distributions: 0 if they are equal, 1 if they have nothing in common."""
    if not first or not second:
        return float(bool(first) != bool(second))
    keys = first.keys() | second.keys()
    return sum(abs(first[key] / first.total() - second[key] / second.total()) for key in keys) / 2
