"""Meter, tempo, key and end of a MIDI file, from its meta events."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final, NamedTuple, TypeVar

from music.errors import InvalidScoreError
from music.midi.file import SmfFile
from music.midi.limits import MAX_METER_CHANGES, MAX_TEMPO_CHANGES
from music.midi.track import MetaEvent
from music.midi.writing import END_MARKER, TRACK_NAME
from music.score import TICKS_PER_QUARTER, Meter, MeterChange, TempoChange

_TRACK_NAME: Final = 0x03
_MARKER: Final = 0x06
_TEMPO: Final = 0x51
_METER: Final = 0x58
_KEY: Final = 0x59
_COUNTED: Final = {
    0x01: "text",
    0x05: "lyrics",
    _MARKER: "markers",
    0x07: "cue_points",
    0x54: "smpte_offset",
    0x7F: "sequencer_specific",
}

_MICROSECONDS_A_MINUTE: Final = 60_000_000
_DEFAULT_TEMPO_BPM: Final = 120.0
"""Tempo of a file without tempo events, by the specification."""
_MOST_SHARPS: Final = 7
_MAX_CLOSING_REST_TICKS: Final = 256 * Meter().bar_ticks
"""Maximum rest at the end of a piece that `write_midi` wrote."""

_Value = TypeVar("_Value")


class Structure(NamedTuple):
    """The contents of the meta events of all tracks."""

    scale: float
    """Score ticks per file tick."""
    meter: Meter | None
    pickup_ticks: int
    meter_changes: tuple[MeterChange, ...]
    """At most `MAX_METER_CHANGES`, some perhaps after the end of the piece."""
    tempo_bpm: float
    tempo_changes: tuple[TempoChange, ...]
    """At most `MAX_TEMPO_CHANGES`, some perhaps after the end of the piece."""
    key_sharps: int | None
    end: int | None
    """End in score ticks of a file that `write_midi` wrote; None for every other file."""
    other: Counter[str]
    """Number of events that a score cannot hold, by kind."""


def read_structure(file: SmfFile) -> Structure:
    """Meters, tempos and key of a file, from the events of all tracks: every meter and tempo, and the first key.

    The meter is None before the first time signature. If one is out of range, bars cannot be counted; then the meter is
    None everywhere, and its changes are counted. The first tempo holds from the start on. In SMPTE time it gives the
    length of a quarter note, and later tempos change nothing; they are counted.
    """
    meta_events = sorted((event for track in file.tracks for event in track.meta_events), key=lambda event: event.tick)
    tempos = _last_at_each_tick(
        (event.tick, int.from_bytes(event.data[:3], "big")) for event in meta_events if _is_tempo(event)
    )
    tempo_bpm = _bpm(tempos[0][1]) if tempos else _DEFAULT_TEMPO_BPM
    ticks_per_quarter = file.ticks_per_quarter or file.ticks_per_second * 60 / tempo_bpm
    scale = TICKS_PER_QUARTER / ticks_per_quarter
    tempo_changes = _tempo_changes(tempos, scale) if file.ticks_per_quarter else ()
    signatures = [
        (round(event.tick * scale), event.data[0], 2 ** event.data[1]) for event in meta_events if _is_meter(event)
    ]
    meter, pickup_ticks, meter_changes, meters_left_out = _meters(signatures)
    keys = _last_at_each_tick((event.tick, event.data[:2]) for event in meta_events if _is_key(event))
    end = _end_of_own_file(file, meta_events)
    other = Counter(_COUNTED[event.kind] for event in meta_events if event.kind in _COUNTED)
    other["markers"] -= end is not None
    other["bad_meta"] = sum(
        event.kind in (_TEMPO, _METER, _KEY) and not (_is_tempo(event) or _is_meter(event) or _is_key(event))
        for event in meta_events
    )
    other["tempo_changes"] = _changes([tempo for _, tempo in tempos]) - len(tempo_changes)
    other["meter_changes"] = meters_left_out
    other["key_changes"] = _changes([key for _, key in keys])
    sharps = int.from_bytes(keys[0][1][:1], "big", signed=True) if keys else None
    return Structure(scale, meter, pickup_ticks, meter_changes, tempo_bpm, tempo_changes, sharps, end, +other)


def longest_end(notes_end: int) -> int:
    """Maximum end of a piece whose notes end at `notes_end`."""
    return notes_end + _MAX_CLOSING_REST_TICKS


def _last_at_each_tick(events: Iterable[tuple[int, _Value]]) -> list[tuple[int, _Value]]:
    """The ticks and values in order; of several at one tick, only the last."""
    return list(dict(events).items())


def _bpm(microseconds: int) -> float:
    """The tempo whose quarter note lasts so long, in thousandths of a quarter note a minute."""
    return round(_MICROSECONDS_A_MINUTE / microseconds, 3)


def _tempo_changes(tempos: list[tuple[int, int]], scale: float) -> tuple[TempoChange, ...]:
    """The changes after the first tempo, at most `MAX_TEMPO_CHANGES`.

    Args:
        tempos: file ticks and microseconds per quarter note.
        scale: score ticks per file tick.
    """
    by_tick = {max(round(tick * scale), 1): _bpm(microseconds) for tick, microseconds in tempos[1:]}
    changes: list[TempoChange] = []
    before = _bpm(tempos[0][1]) if tempos else _DEFAULT_TEMPO_BPM
    for tick, bpm in by_tick.items():
        if bpm != before and len(changes) < MAX_TEMPO_CHANGES:
            changes.append(TempoChange(tick, bpm))
        before = bpm
    return tuple(changes)


def _changes(values: Sequence[object]) -> int:
    return sum(after != before for before, after in pairwise(values))


def _is_tempo(event: MetaEvent) -> bool:
    return event.kind == _TEMPO and len(event.data) >= 3 and any(event.data[:3])


def _is_meter(event: MetaEvent) -> bool:
    return event.kind == _METER and len(event.data) >= 2


def _is_key(event: MetaEvent) -> bool:
    if event.kind != _KEY or len(event.data) < 2:
        return False
    return abs(int.from_bytes(event.data[:1], "big", signed=True)) <= _MOST_SHARPS


def _meters(
    signatures: list[tuple[int, int, int]],
) -> tuple[Meter | None, int, tuple[MeterChange, ...], int]:
    """Meter, pickup, later meters, and number of changes that are left out.

    A first bar with a meter of its own is a pickup if the next bars are longer and the meter does not come again.

    Args:
        signatures: time signatures (score tick, numerator, denominator), sorted by tick.
    """
    changes: list[MeterChange] = []
    for tick, numerator, denominator in signatures:
        try:
            meter = Meter(numerator, denominator)
        except InvalidScoreError:
            return None, 0, (), _changes([signature[1:] for signature in signatures])
        if changes and changes[-1].tick == tick:
            changes.pop()  # of several at one tick, the last holds
        if not changes or changes[-1].meter != meter:
            changes.append(MeterChange(tick, meter))
    first: Meter | None = None
    pickup_ticks = 0
    if changes and changes[0].tick == 0:
        first = changes.pop(0).meter
        is_short = bool(changes) and first.bar_ticks == changes[0].tick < changes[0].meter.bar_ticks
        if is_short and all(change.meter != first for change in changes):
            pickup_ticks, first = changes.pop(0)
    kept = changes[:MAX_METER_CHANGES]
    return first, pickup_ticks, tuple(kept), len(changes) - len(kept)


def _end_of_own_file(file: SmfFile, meta_events: list[MetaEvent]) -> int | None:
    """Tick of the end marker, if `write_midi` wrote the file.

    Other programs write markers with the text `end` too. A file is our own if everything is as `write_midi` writes it:
    the resolution, the track names, and a single marker, which ends the first track and after which no note ends.
    """
    if file.format != 1 or file.ticks_per_quarter != TICKS_PER_QUARTER:
        return None
    for track in file.tracks:
        name = next((event.data for event in track.meta_events if event.kind == _TRACK_NAME), b"")
        kind, _, number = name.decode("ascii", "replace").partition(" ")
        if kind != TRACK_NAME or not number.isdecimal():
            return None
    first = file.tracks[0]
    markers = [event for event in meta_events if event.kind == _MARKER]
    if len(markers) != 1 or all(event is not markers[0] for event in first.meta_events):
        return None
    (marker,) = markers
    # If the piece ends within its pickup, a time signature comes after the marker.
    meters = [event.tick for event in first.meta_events if event.kind == _METER]
    if marker.data != END_MARKER.encode() or first.end_tick > max([marker.tick, *meters]) + 1:
        return None
    if any(message.tick > marker.tick for track in file.tracks for message in track.messages):
        return None
    return marker.tick
