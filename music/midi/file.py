"""Standard MIDI Files: bytes to tracks.

Written from the specification (MIDI Association, Standard MIDI Files 1.0, RP-001), and lenient where a file can still
mean only one thing. What was mended is counted; what cannot be mended is refused with its place in the file.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from music.errors import InvalidScoreError
from music.midi.container import find_midi
from music.midi.track import MAX_EVENTS, SmfTrack, TrackReader, is_chunk_name

MAX_FILE_BYTES: Final = 16 * 2**20
"""Largest file that is read."""
MAX_TRACKS: Final = 1024
"""Most tracks of one file that are read: each costs some 20 kB if it plays on all channels."""

_CHUNK_HEADER_BYTES: Final = 8
_HEADER_BYTES: Final = 6
_FRAMES_PER_SECOND: Final = {24: 24.0, 25: 25.0, 29: 30_000 / 1001, 30: 30.0}


@dataclass(frozen=True, slots=True)
class SmfFile:
    """A Standard MIDI File."""

    format: int
    """0: one track; 1: tracks that sound together; 2: tracks that are pieces of their own."""
    ticks_per_quarter: int
    """Ticks in a quarter note; 0 where ticks count time (`ticks_per_second`)."""
    ticks_per_second: float
    """Ticks in a second, of a file in SMPTE time; 0 where ticks count quarters."""
    tracks: list[SmfTrack]
    oddities: Counter[str]
    """What is not as the specification has it, and was mended or passed over, by kind."""


def read_smf(data: bytes) -> SmfFile:
    """Read every track of a Standard MIDI File, bare or in a RIFF container (RMID).

    All tracks are read, however many the header announces; chunks of other types are passed over. `oddities` counts
    what was mended: `bad_bytes` (data bytes above 127, and messages that only a live stream may hold),
    `chunk_lengths` that are not those of the tracks, missing ends of tracks (`no_end_of_track`), data
    `after_end_of_track`, `running_status` that goes on after a meta event. It counts what was passed over:
    `alien_chunks`, `missing_tracks` that the header announces, `junk_bytes` between chunks, `further_midi_files` that
    follow the first.

    Raises:
        InvalidScoreError: it is empty, too large, no MIDI file, breaks off, has no track, or holds bytes that mean
            nothing; the message says which, and where.
    """
    if len(data) > MAX_FILE_BYTES:
        raise InvalidScoreError(f"the file is larger than the {MAX_FILE_BYTES:,} bytes that are read")
    start, end = find_midi(data)
    if end - start < _CHUNK_HEADER_BYTES + _HEADER_BYTES:
        raise InvalidScoreError(f"truncated: the MIDI header breaks off at offset {end}")
    kind = int.from_bytes(data[start + 8 : start + 10], "big")
    announced = int.from_bytes(data[start + 10 : start + 12], "big")
    if kind > 2:
        raise InvalidScoreError(f"the MIDI file is of format {kind}; there are formats 0, 1 and 2")
    ticks_per_quarter, ticks_per_second = _division(data[start + 12], data[start + 13])
    oddities: Counter[str] = Counter()
    tracks: list[SmfTrack] = []
    events = 0
    position = start + _CHUNK_HEADER_BYTES + max(int.from_bytes(data[start + 4 : start + 8], "big"), _HEADER_BYTES)
    if not is_chunk_name(data[position : position + 4]):  # what the header says of its length is not so
        position = start + _CHUNK_HEADER_BYTES + _HEADER_BYTES
    while end - position >= _CHUNK_HEADER_BYTES:
        name = data[position : position + 4]
        length = int.from_bytes(data[position + 4 : position + 8], "big")
        if name == b"MTrk":
            if len(tracks) == MAX_TRACKS:
                raise InvalidScoreError(f"the MIDI file has more than {MAX_TRACKS:,} tracks")
            reader = TrackReader(data, end, len(tracks) + 1, position + _CHUNK_HEADER_BYTES, length, oddities)
            position = reader.read(MAX_EVENTS - events)
            tracks.append(reader.track)
            events += reader.events
        elif name == b"MThd":
            oddities["further_midi_files"] += 1
            break
        elif is_chunk_name(name) and position + _CHUNK_HEADER_BYTES + length <= end:
            oddities["alien_chunks"] += 1
            position += _CHUNK_HEADER_BYTES + length
        else:
            following = data.find(b"MTrk", position + 1, end)
            following = end if following < 0 else following
            oddities["junk_bytes"] += _junk(data[position:following])
            position = following
    else:
        oddities["junk_bytes"] += _junk(data[position:end])
    if not tracks:
        raise InvalidScoreError("the MIDI file has no track")
    oddities["missing_tracks"] += max(announced - len(tracks), 0)
    return SmfFile(kind, ticks_per_quarter, ticks_per_second, tracks, +oddities)


def _division(high: int, low: int) -> tuple[int, float]:
    """Ticks per quarter and ticks per second, one of them 0."""
    if high < 0x80:
        if high == low == 0:
            raise InvalidScoreError("the MIDI file counts no ticks in a quarter note")
        return high << 8 | low, 0.0
    frames = _FRAMES_PER_SECOND.get(256 - high)
    if frames is None:
        raise InvalidScoreError(f"the MIDI file counts {256 - high} frames in a second; there are 24, 25, 29 and 30")
    if low == 0:
        raise InvalidScoreError("the MIDI file counts no ticks in a frame")
    return 0, frames * low


def _junk(gap: bytes) -> int:
    """How many bytes say something that is not understood; zeros alone fill up."""
    return len(gap) if any(gap) else 0
