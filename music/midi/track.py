"""Tracks of Standard MIDI Files: from bytes to messages and events."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from music.errors import InvalidScoreError

MAX_EVENTS: Final = 1_000_000
"""Maximum number of events of a file. Each takes about 120 bytes of memory."""

_TWO_DATA_BYTES: Final = frozenset((0x80, 0x90, 0xA0, 0xB0, 0xE0))
_SYSTEM_DATA_BYTES: Final = {0xF1: 1, 0xF2: 2, 0xF3: 1}
"""Number of data bytes of system messages that are legal in a live stream only; the others have none."""
_END_OF_TRACK: Final = 0x2F


class ChannelMessage(NamedTuple):
    """A channel voice or mode message, with its running status resolved."""

    tick: int
    """File ticks from the start of the track."""
    status: int
    """0x80 to 0xEF; the low four bits are the channel, from 0."""
    data1: int
    """First data byte: 0 to 127, or up to 255 in a file with `bad_bytes`."""
    data2: int
    """Second data byte; 0 if the message has only one."""


class MetaEvent(NamedTuple):
    """A meta event other than End of Track."""

    tick: int
    kind: int
    data: bytes


class SystemExclusive(NamedTuple):
    """A system exclusive message, without its 0xF0."""

    tick: int
    data: bytes


@dataclass(slots=True)
class SmfTrack:
    """One track chunk."""

    number: int
    """From 1."""
    messages: list[ChannelMessage] = field(default_factory=list)
    meta_events: list[MetaEvent] = field(default_factory=list)
    system_exclusives: list[SystemExclusive] = field(default_factory=list)
    end_tick: int = 0
    """End of the track in file ticks."""


def is_chunk_name(name: bytes) -> bool:
    """Whether the bytes can be a chunk type: four printable ASCII characters."""
    return len(name) == 4 and name.isascii() and name.decode("ascii").isprintable()


class TrackReader:
    """Reads one track.

    A track ends at its End of Track event, whatever the chunk's length is, and without that event at the chunk's end.

    Args:
        data: bytes that contain the file.
        end: offset of the file's end.
        number: the track's number, from 1.
        start: offset of its first event.
        length: length of its chunk, from the chunk's header.
        anomalies: counts, to which those of the track are added.
    """

    def __init__(self, data: bytes, end: int, number: int, start: int, length: int, anomalies: Counter[str]) -> None:
        self.track = SmfTrack(number)
        self.events = 0
        """Number of events, the End of Track included."""
        self._data = data
        self._end = end
        self._start = start
        self._declared = start + length
        self._stop = min(start + length, end)
        self._extended = False
        self._oddities = anomalies
        self._bad_bytes: list[int] = []

    def read(self, max_events: int) -> int:
        """Read the track's events; return the offset of the next chunk.

        Args:
            max_events: maximum number of events.

        Raises:
            InvalidScoreError: the track is truncated, contains bytes without a meaning, or has too many events.
        """
        try:
            after = self._read_events(max_events)
            following = self._following(after)
            if self._bad_bytes and after != self._declared:
                raise InvalidScoreError(f"it ends at offset {after}, where its chunk ends at {self._declared}")
        except InvalidScoreError as error:
            if not self._bad_bytes:
                raise
            place = self._bad_bytes[0]
            raise InvalidScoreError(
                f"bad byte 0x{self._data[place]:02X} at offset {place} in track {self.track.number}, and later: {error}"
            ) from error
        self._oddities["bad_bytes"] += len(self._bad_bytes)
        return following

    def _read_events(self, max_events: int) -> int:
        """Fill the track; return the offset of its end. A single loop, because calls would take most of the time."""
        data, messages = self._data, self.track.messages
        position, stop = self._start, self._stop
        tick = running = count = 0
        interrupted = False
        try:
            while True:
                if position >= stop:
                    if position == self._declared and not self._extended and self._chunk_begins(position):
                        self._oddities["no_end_of_track"] += 1
                        break
                    stop = self._extend(position)
                count += 1
                if count > max_events:
                    raise InvalidScoreError(f"the MIDI file has more than {MAX_EVENTS:,} events")
                delta = data[position]
                if delta < 0x80:
                    position += 1
                else:
                    delta, position = self._quantity(position)
                tick += delta
                status = data[position]
                if status >= 0x80:
                    position += 1
                elif running:
                    status = running
                    if interrupted:
                        self._oddities["running_status"] += 1
                else:
                    raise InvalidScoreError(
                        f"byte 0x{status:02X} at offset {position} in track {self.track.number} has no status byte"
                    )
                if status < 0xF0:
                    running, interrupted = status, False
                    data1 = data[position]
                    if data1 > 0x7F:
                        self._bad_bytes.append(position)
                    position += 1
                    data2 = 0
                    if status & 0xF0 in _TWO_DATA_BYTES:
                        data2 = data[position]
                        if data2 > 0x7F:
                            self._bad_bytes.append(position)
                        position += 1
                    messages.append(ChannelMessage(tick, status, data1, data2))
                elif status in (0xFF, 0xF0, 0xF7):
                    interrupted = True
                    kind, payload, position = self._payload(status, position)
                    stop = self._stop
                    if kind == _END_OF_TRACK:
                        break
                    if status == 0xFF:
                        self.track.meta_events.append(MetaEvent(tick, kind, payload))
                    elif status == 0xF0:
                        self.track.system_exclusives.append(SystemExclusive(tick, payload))
                else:
                    self._bad_bytes.append(position - 1)
                    position += _SYSTEM_DATA_BYTES.get(status, 0)
        except IndexError:
            self._break_off(len(data), self._end)
        self.events = count
        self.track.end_tick = tick
        return position

    def _payload(self, status: int, position: int) -> tuple[int, bytes, int]:
        """Kind of a meta event (-1 for a system exclusive), its data, and the offset of its end."""
        place, kind = position - 1, -1
        if status == 0xFF:
            kind = self._data[position]
            if kind > 0x7F:
                self._bad_bytes.append(position)
            position += 1
        size, position = self._quantity(position)
        if position + size > self._stop:
            stop = self._extend(place)
            if position + size > stop:
                self._break_off(place, stop)
        return kind, self._data[position : position + size], position + size

    def _quantity(self, position: int) -> tuple[int, int]:
        """The variable-length quantity at `position`, and the offset of its end."""
        value = 0
        for place in range(position, position + 4):
            byte = self._data[place]
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value, place + 1
        raise InvalidScoreError(
            f"the variable-length quantity at offset {position} in track {self.track.number} is longer than 4 bytes"
        )

    def _chunk_begins(self, position: int) -> bool:
        return position == self._end or is_chunk_name(self._data[position : position + 4])

    def _extend(self, position: int) -> int:
        """Continue past the chunk's end, up to the next track; return the new end."""
        if self._extended or self._declared >= self._end:
            self._break_off(position, self._stop)
        following = self._data.find(b"MTrk", self._declared, self._end)
        self._extended = True
        self._stop = self._end if following < 0 else following
        if position >= self._stop:
            self._break_off(position, self._stop)
        return self._stop

    def _break_off(self, position: int, stop: int) -> None:
        if stop >= self._end:
            raise InvalidScoreError(
                f"truncated: the file breaks off at offset {self._end}, in track {self.track.number}"
            )
        raise InvalidScoreError(
            f"track {self.track.number} has no end before the next track; its last event is at offset {position}"
        )

    def _following(self, after: int) -> int:
        """Offset of the chunk after the track, whose events end at `after`."""
        if after == self._declared:
            return after
        if after > self._declared or self._declared > self._end or self._data.startswith(b"MTrk", after):
            self._oddities["chunk_lengths"] += 1
            return after
        self._oddities["after_end_of_track"] += 1
        return self._declared
