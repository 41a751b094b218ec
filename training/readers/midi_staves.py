"""Piano pieces in MIDI files with a track for each staff: which hand plays a note, and where bars begin."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final, TypeVar

from music.errors import InvalidScoreError
from music.midi import SmfFile, score_from_smf
from music.score import NOTE_ORDER, TICKS_PER_QUARTER, Note, Score
from training.readers.reading import PlayedBar

_UPPER: Final = 0
_LOWER: Final = 1
_TRACK_NAME: Final = 0x03
_TEMPO: Final = 0x51
_KEY: Final = 0x59
_MICROSECONDS_A_MINUTE: Final = 60_000_000
_MIDDLE_C: Final = 60
_CLEARLY_LOWER: Final = 3
"""Semitones by which the mean pitch of the first track must be lower for the second of two to be the upper staff."""

_ValueT = TypeVar("_ValueT")


def with_staves(file: SmfFile, score: Score) -> tuple[Score, tuple[PlayedBar, ...]]:
    """The score of a file with the staves as voices, 0 the upper and 1 the lower, and its bars.

    Of two tracks the first is the upper staff, unless it is clearly lower. Of any other number of tracks, those whose
    names begin with `up`, `down` or `low` are what they say, and the others go by their mean pitch.
    """
    tracks = {_name(file, index): notes for index in range(len(file.tracks)) if (notes := _notes(file, index))}
    staves = _staves(tracks)
    played = [note._replace(voice=staff) for line, staff in zip(tracks.values(), staves, strict=True) for note in line]
    return replace(score, notes=tuple(sorted(played, key=NOTE_ORDER))), tuple(_bars(file, score))


def _notes(file: SmfFile, track: int) -> tuple[Note, ...]:
    try:
        return score_from_smf(replace(file, tracks=[file.tracks[track]], anomalies=Counter())).notes
    except InvalidScoreError:  # no pitched note in this track
        return ()


def _name(file: SmfFile, track: int) -> tuple[int, str]:
    """Index and name of a track."""
    names = (event.data for event in file.tracks[track].meta_events if event.kind == _TRACK_NAME)
    return track, next(names, b"").decode("latin-1").lower()


def _staves(tracks: dict[tuple[int, str], tuple[Note, ...]]) -> list[int]:
    means = [sum(note.pitch for note in line) / len(line) for line in tracks.values()]
    if len(means) == 2:
        return [_LOWER, _UPPER] if means[0] < means[1] - _CLEARLY_LOWER else [_UPPER, _LOWER]
    staves = []
    for (_, name), mean in zip(tracks, means, strict=True):
        if name.startswith(("up", "down", "low")):
            staves.append(_UPPER if name.startswith("up") else _LOWER)
        else:
            staves.append(_UPPER if mean >= _MIDDLE_C else _LOWER)
    return staves


def _bars(file: SmfFile, score: Score) -> Iterator[PlayedBar]:
    keys = _values(file, _KEY, lambda data: int.from_bytes(data[:1], "big", signed=True))
    tempos = _values(file, _TEMPO, lambda data: round(_MICROSECONDS_A_MINUTE / int.from_bytes(data[:3], "big"), 3))
    pickup = [(0, score.meter)] if score.pickup_ticks else []
    changes = [(score.pickup_ticks, score.meter), *score.meter_changes]
    ends = [*(tick for tick, _ in changes[1:]), score.length_ticks]
    stretches = [
        (tick, meter)
        for (begin, meter), end in zip(changes, ends, strict=True)
        for tick in range(begin, end, meter.bar_ticks if meter else max(end - begin, 1))
    ]
    for tick, meter in pickup + stretches:
        signature = (meter.numerator, meter.denominator) if meter else None
        yield PlayedBar(tick, signature, _at(keys, tick), _at(tempos, tick))


def _values(file: SmfFile, kind: int, value: Callable[[bytes], _ValueT]) -> dict[int, _ValueT]:
    """Values of the events of a kind, by their tick in the score, in ascending order."""
    scale = TICKS_PER_QUARTER / file.ticks_per_quarter if file.ticks_per_quarter else 0.0
    events = [
        (round(event.tick * scale), event.data)
        for track in file.tracks
        for event in track.meta_events
        if event.kind == kind and (any(event.data[:3]) or kind == _KEY)
    ]
    return {tick: value(data) for tick, data in sorted(events)}


def _at(values: dict[int, _ValueT], tick: int) -> _ValueT | None:
    ticks = list(values)
    place = bisect_right(ticks, tick) - 1
    return values[ticks[place]] if place >= 0 else None
