"""What the meta events of a MIDI file say of its music: meter, tempo, key, and where it ends."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final, NamedTuple, TypeVar

from music.errors import InvalidScoreError
from music.midi.file import SmfFile
from music.midi.track import MetaEvent
from music.midi.writing import END_MARKER, TRACK_NAME
from music.score import TICKS_PER_QUARTER, Meter

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
"""Of a file that states none, by the specification."""
_MOST_SHARPS: Final = 7
_MAX_CLOSING_REST_TICKS: Final = 256 * Meter().bar_ticks
"""A piece of ours ends so long after its last note at most."""

_Value = TypeVar("_Value")


class Structure(NamedTuple):
    """What the meta events of all tracks say."""

    scale: float
    """Ticks of a score in one tick of the file."""
    meter: Meter | None
    pickup_ticks: int
    tempo_bpm: float
    key_sharps: int | None
    end: int | None
    """Tick of the score at which a file that `write_midi` wrote says that it ends; None for every other file."""
    other: Counter[str]
    """What a score cannot hold, by kind."""


def structure_of(file: SmfFile) -> Structure:
    """Meter, tempo and key of a file, each the first that any of its tracks states.

    A file whose meter changes later has meter None, since no clock could follow it, except that a first bar in a meter
    of its own is a pickup. In SMPTE time a quarter note lasts as long as the first tempo says.
    """
    metas = sorted((event for track in file.tracks for event in track.metas), key=lambda event: event.tick)
    tempos = _last_at_each_tick(
        (event.tick, int.from_bytes(event.data[:3], "big")) for event in metas if _is_tempo(event)
    )
    tempo_bpm = round(_MICROSECONDS_A_MINUTE / tempos[0], 3) if tempos else _DEFAULT_TEMPO_BPM
    ticks_per_quarter = file.ticks_per_quarter or file.ticks_per_second * 60 / tempo_bpm
    scale = TICKS_PER_QUARTER / ticks_per_quarter
    signatures = [(round(event.tick * scale), event.data[0], 2 ** event.data[1]) for event in metas if _is_meter(event)]
    meter, pickup_ticks = _meter_and_pickup(signatures)
    keys = _last_at_each_tick((event.tick, event.data[:2]) for event in metas if _is_key(event))
    end = _end_of_our_own(file, metas)
    other = Counter(_COUNTED[event.kind] for event in metas if event.kind in _COUNTED)
    other["markers"] -= end is not None
    other["bad_meta"] = sum(
        event.kind in (_TEMPO, _METER, _KEY) and not (_is_tempo(event) or _is_meter(event) or _is_key(event))
        for event in metas
    )
    other["tempo_changes"] = _changes(tempos)
    other["meter_changes"] = 0 if meter else _changes([signature[1:] for signature in signatures])
    other["key_changes"] = _changes(keys)
    sharps = int.from_bytes(keys[0][:1], "big", signed=True) if keys else None
    return Structure(scale, meter, pickup_ticks, tempo_bpm, sharps, end, +other)


def longest_end(notes_end: int) -> int:
    """The last tick at which a piece may end whose notes end at `notes_end`: the notes bound its length."""
    return notes_end + _MAX_CLOSING_REST_TICKS


def _last_at_each_tick(events: Iterable[tuple[int, _Value]]) -> list[_Value]:
    """The values in their order; the last of several at one tick holds."""
    return list(dict(events).values())


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


def _meter_and_pickup(signatures: list[tuple[int, int, int]]) -> tuple[Meter | None, int]:
    """Meter and pickup of time signatures (tick of the score, numerator, denominator) in the order of their ticks."""
    meters: list[tuple[int, Meter]] = []
    for tick, numerator, denominator in signatures:
        try:
            meter = Meter(numerator, denominator)
        except InvalidScoreError:
            return None, 0
        if meters and meters[-1][0] == tick:
            meters.pop()  # the last of several at one tick holds
        if not meters or meters[-1][1] != meter:
            meters.append((tick, meter))
    if not meters or meters[0][0] != 0:
        return None, 0
    if len(meters) == 1:
        return meters[0][1], 0
    (_, first), (tick, second) = meters[:2]
    if len(meters) == 2 and first.bar_ticks == tick and tick < second.bar_ticks:
        return second, tick
    return None, 0


def _end_of_our_own(file: SmfFile, metas: list[MetaEvent]) -> int | None:
    """Where the end marker of `write_midi` stands, if the file is one that it wrote.

    Other programs write markers called `end` too, anywhere. A file is our own if all of it is as `write_midi` has it:
    the resolution, the names of the tracks, and one marker, which ends the first track and which no note outlasts.
    """
    if file.format != 1 or file.ticks_per_quarter != TICKS_PER_QUARTER:
        return None
    for track in file.tracks:
        name = next((event.data for event in track.metas if event.kind == _TRACK_NAME), b"")
        kind, _, number = name.decode("ascii", "replace").partition(" ")
        if kind != TRACK_NAME or not number.isdecimal():
            return None
    first = file.tracks[0]
    markers = [event for event in metas if event.kind == _MARKER]
    if len(markers) != 1 or all(event is not markers[0] for event in first.metas):
        return None
    (marker,) = markers
    meters = [event.tick for event in first.metas if event.kind == _METER]  # of a piece that ends within its pickup
    if marker.data != END_MARKER.encode() or first.end_tick > max([marker.tick, *meters]) + 1:
        return None
    if any(message.tick > marker.tick for track in file.tracks for message in track.messages):
        return None
    return marker.tick
