"""Standard MIDI Files, byte by byte."""

from collections.abc import Iterable

END = b"\x00\xff\x2f\x00"
"""End of Track with delta 0."""


def quantity(value: int) -> bytes:
    """A variable-length quantity."""
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(value & 0x7F | 0x80)
    return bytes(reversed(digits))


def on(delta: int, key: int, velocity: int = 80, channel: int = 0) -> bytes:
    """A note-on, `delta` ticks after the event before."""
    return quantity(delta) + bytes((0x90 | channel, key, velocity))


def off(delta: int, key: int, channel: int = 0) -> bytes:
    """A note-off."""
    return quantity(delta) + bytes((0x80 | channel, key, 64))


def control(delta: int, controller: int, value: int = 0, channel: int = 0) -> bytes:
    """A control change."""
    return quantity(delta) + bytes((0xB0 | channel, controller, value))


def program(delta: int, number: int, channel: int = 0) -> bytes:
    """A program change."""
    return quantity(delta) + bytes((0xC0 | channel, number))


def meta(delta: int, kind: int, data: bytes = b"") -> bytes:
    """A meta event."""
    return quantity(delta) + bytes((0xFF, kind)) + quantity(len(data)) + data


def system_exclusive(delta: int, data: bytes) -> bytes:
    """A system exclusive message; `data` follow its 0xF0."""
    return quantity(delta) + b"\xf0" + quantity(len(data)) + data


def chunk(name: bytes, data: bytes, length: int | None = None) -> bytes:
    """A chunk, whose length field may be wrong."""
    return name + (len(data) if length is None else length).to_bytes(4, "big") + data


def track(*events: bytes, end: bytes = END) -> bytes:
    """A track chunk."""
    return chunk(b"MTrk", b"".join(events) + end)


def smf(*chunks: bytes, kind: int = 1, tracks: int | None = None, division: int = 480) -> bytes:
    """A file of chunks; the header announces as many tracks as there are chunks, or `tracks`."""
    numbers = (kind, len(chunks) if tracks is None else tracks, division)
    return chunk(b"MThd", b"".join(number.to_bytes(2, "big") for number in numbers)) + b"".join(chunks)


def scale_of(keys: Iterable[int], ticks: int = 480) -> bytes:
    """The events of notes one after the other, each `ticks` long."""
    return b"".join(on(0, key) + off(ticks, key) for key in keys)
