"""Standard MIDI Files: from bytes to tracks.

Follows the specification (MIDI Association, Standard MIDI Files 1.0, RP-001). A deviation is accepted and counted if
the file still has only one possible meaning. Otherwise the file is refused, with the offset of the error.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from music.errors import InvalidScoreError
from music.midi.container import find_midi
from music.midi.limits import DEFAULT_LIMITS, MidiLimits
from music.midi.track import MAX_EVENTS, SmfTrack, TrackReader, is_chunk_name

_CHUNK_HEADER_BYTES: Final = 8
_HEADER_BYTES: Final = 6
_FRAMES_PER_SECOND: Final = {24: 24.0, 25: 25.0, 29: 30_000 / 1001, 30: 30.0}


@dataclass(frozen=True, slots=True)
class SmfFile:
    """A Standard MIDI File."""

    format: int
    """0: one track; 1: simultaneous tracks; 2: independent tracks."""
    ticks_per_quarter: int
    """Ticks in a quarter note; 0 in SMPTE time (`ticks_per_second`)."""
    ticks_per_second: float
    """Ticks in a second in SMPTE time, else 0."""
    tracks: list[SmfTrack]
    anomalies: Counter[str]
    """Number of deviations from the specification that were corrected or skipped, by kind."""


def read_smf(data: bytes, limits: MidiLimits = DEFAULT_LIMITS) -> SmfFile:
    """Read every track of a Standard MIDI File, bare or in a RIFF container (RMID).

    All tracks are read, whatever number the header announces. Chunks of other types are skipped. `anomalies` counts
    what was corrected: `bad_bytes` (data bytes above 127, and messages that are legal in a live stream only),
    `chunk_lengths` that differ from their tracks, missing ends of tracks (`no_end_of_track`), data
    `after_end_of_track`, `running_status` that continues after a meta event. It also counts what was skipped:
    `alien_chunks`, `missing_tracks` that the header announces, `junk_bytes` between chunks, `further_midi_files` after
    the first.

    Raises:
        InvalidScoreError: the file is empty, exceeds the maximum size or number of tracks, is not a MIDI file,
            truncated, without tracks, or contains bytes without a meaning; the message says which and where.
    """
    if len(data) > limits.max_bytes:
        raise InvalidScoreError(f"the file is larger than the maximum of {limits.max_bytes:,} bytes")
    start, end = find_midi(data)
    if end - start < _CHUNK_HEADER_BYTES + _HEADER_BYTES:
        raise InvalidScoreError(f"truncated: the MIDI header breaks off at offset {end}")
    kind = int.from_bytes(data[start + 8 : start + 10], "big")
    announced = int.from_bytes(data[start + 10 : start + 12], "big")
    if kind > 2:
        raise InvalidScoreError(f"the MIDI file has format {kind}; allowed are 0, 1 and 2")
    ticks_per_quarter, ticks_per_second = _division(data[start + 12], data[start + 13])
    anomalies: Counter[str] = Counter()
    tracks: list[SmfTrack] = []
    events = 0
    position = start + _CHUNK_HEADER_BYTES + max(int.from_bytes(data[start + 4 : start + 8], "big"), _HEADER_BYTES)
    if not is_chunk_name(data[position : position + 4]):  # the length in the header is wrong
        position = start + _CHUNK_HEADER_BYTES + _HEADER_BYTES
    while end - position >= _CHUNK_HEADER_BYTES:
        name = data[position : position + 4]
        length = int.from_bytes(data[position + 4 : position + 8], "big")
        if name == b"MTrk":
            if len(tracks) == limits.max_tracks:
                raise InvalidScoreError(f"the MIDI file has more than {limits.max_tracks:,} tracks")
            reader = TrackReader(data, end, len(tracks) + 1, position + _CHUNK_HEADER_BYTES, length, anomalies)
            position = reader.read(MAX_EVENTS - events)
            tracks.append(reader.track)
            events += reader.events
        elif name == b"MThd":
            anomalies["further_midi_files"] += 1
            break
        elif is_chunk_name(name) and position + _CHUNK_HEADER_BYTES + length <= end:
            anomalies["alien_chunks"] += 1
            position += _CHUNK_HEADER_BYTES + length
        else:
            following = data.find(b"MTrk", position + 1, end)
            following = end if following < 0 else following
            anomalies["junk_bytes"] += _junk(data[position:following])
            position = following
    else:
        anomalies["junk_bytes"] += _junk(data[position:end])
    if not tracks:
        raise InvalidScoreError("the MIDI file has no track")
    anomalies["missing_tracks"] += max(announced - len(tracks), 0)
    return SmfFile(kind, ticks_per_quarter, ticks_per_second, tracks, +anomalies)


def _division(high: int, low: int) -> tuple[int, float]:
    """Ticks per quarter and ticks per second; one of them is 0."""
    if high < 0x80:
        if high == low == 0:
            raise InvalidScoreError("the MIDI file has 0 ticks in a quarter note")
        return high << 8 | low, 0.0
    frames = _FRAMES_PER_SECOND.get(256 - high)
    if frames is None:
        raise InvalidScoreError(f"the MIDI file has {256 - high} frames in a second; allowed are 24, 25, 29 and 30")
    if low == 0:
        raise InvalidScoreError("the MIDI file has 0 ticks in a frame")
    return 0, frames * low


def _junk(gap: bytes) -> int:
    """Number of junk bytes in a gap; 0 if it is only zeros, which are padding."""
    return len(gap) if any(gap) else 0
