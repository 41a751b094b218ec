"""MIDI files: small valid ones, and mutated and hostile ones."""

import random
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bench.fuzz.mutation import mutated

_MAX_VARIABLE_LENGTH: Final = 0x0FFF_FFFF
_HEADER_BYTES: Final = 14
_LENGTHS: Final = (0, 1, 0x7F, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF)
_DIVISIONS: Final = (0, 1, 24, 96, 480, 0x7FFF, 0x8000, 0xE728, 0xFFFF)


def variable_length(value: int) -> bytes:
    """A variable-length quantity, 0 to 2^28 - 1."""
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(value & 0x7F | 0x80)
    return bytes(reversed(parts))


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk with its true length."""
    return kind + struct.pack(">I", len(body)) + body


def midi_file(tracks: Sequence[bytes], *, midi_format: int = 1, division: int = 480) -> bytes:
    """A file of these tracks, each without its End of Track."""
    header = struct.pack(">HHH", midi_format, min(len(tracks), 0xFFFF), division)
    return chunk(b"MThd", header) + b"".join(chunk(b"MTrk", track + b"\x00\xff\x2f\x00") for track in tracks)


def small_file(rng: random.Random, *, pitches: Sequence[Sequence[int]] = ((60, 72),)) -> bytes:
    """A valid file of a few notes.

    Args:
        rng: decides.
        pitches: for each voice, the pitches to choose from; each voice is a track.
    """
    division = rng.choice((96, 120, 480, 960))
    tracks = []
    for voice, choice in enumerate(pitches):
        channel = voice % 9
        events = []
        if voice == 0 and rng.random() < 0.7:
            events.append(_signature(rng, 0))
        if voice == 0 and rng.random() < 0.7:
            events.append(b"\x00\xff\x51\x03" + rng.randint(200_000, 2_000_000).to_bytes(3, "big"))
        if rng.random() < 0.5:
            events.append(bytes((0, 0xC0 | channel, rng.randrange(128))))
        for _ in range(rng.randint(1, 12)):
            pitch, velocity = rng.choice(choice), rng.randint(1, 127)
            duration = division // 4 * rng.choice((1, 2, 4))
            gap = division // 4 * rng.choice((0, 0, 0, 1, 4))
            events.append(variable_length(gap) + bytes((0x90 | channel, pitch, velocity)))
            off = bytes((0x80 | channel, pitch, 64)) if rng.random() < 0.5 else bytes((0x90 | channel, pitch, 0))
            events.append(variable_length(duration) + off)
            if voice == 0 and rng.random() < 0.1:
                events.append(_signature(rng, division * rng.choice((0, 1, 2))))
        tracks.append(b"".join(events))
    return midi_file(tracks, division=division, midi_format=0 if len(tracks) == 1 and rng.random() < 0.5 else 1)


def _signature(rng: random.Random, delta: int) -> bytes:
    """A time signature."""
    numerator, power = rng.choice(((4, 2), (3, 2), (2, 2), (6, 3), (5, 2), (7, 3)))
    return variable_length(delta) + b"\xff\x58\x04" + bytes((numerator, power, 24, 8))


def seeds(models: Path) -> list[bytes]:
    """The samples of the shipped bundles."""
    return [path.read_bytes() for path in sorted(models.glob("*/samples/*.mid"))]


def hostile_file(rng: random.Random, others: Sequence[bytes]) -> bytes:
    """A file that is likely to be wrong: mutated, or built to be expensive.

    Args:
        rng: decides.
        others: valid files to begin from.
    """
    if rng.random() < 0.6:
        base = rng.choice(others) if others and rng.random() < 0.5 else small_file(rng, pitches=_random_voices(rng))
        return mutated(rng, _with_wrong_structure(rng, base) if rng.random() < 0.3 else base, others)
    built = rng.choice(_HOSTILE)(rng)
    return mutated(rng, built, others) if rng.random() < 0.3 else built


def _random_voices(rng: random.Random) -> list[range]:
    return [range(rng.randint(0, 100), 128) for _ in range(rng.randint(1, 6))]


def _with_wrong_structure(rng: random.Random, data: bytes) -> bytes:
    """Another format, number of tracks, division or chunk length."""
    changed = bytearray(data)
    if len(changed) < _HEADER_BYTES:
        return data
    match rng.randrange(4):
        case 0:
            struct.pack_into(">H", changed, 8, rng.choice((0, 1, 2, 3, 0xFFFF)))
        case 1:
            struct.pack_into(">H", changed, 10, rng.choice((0, 1, 2, 0x7FFF, 0xFFFF)))
        case 2:
            struct.pack_into(">H", changed, 12, rng.choice(_DIVISIONS))
        case _:
            places = [place for place in range(len(changed) - 8) if changed[place : place + 2] == b"MT"]
            if places:
                struct.pack_into(">I", changed, rng.choice(places) + 4, rng.choice(_LENGTHS))
    return bytes(changed)


def _running_status(rng: random.Random) -> bytes:
    """Running status through meta events, system exclusives and data bytes without a status."""
    events = [b"\x00\x90\x3c\x40"]
    pieces = (
        b"\x10\x3c\x00",
        b"\x00\x3e\x40",
        b"\x00\xff\x01\x01a",
        b"\x00\xf0\x02\x01\xf7",
        b"\x00\x3c",
        b"\x00\xf7\x00",
    )
    events += [rng.choice(pieces) for _ in range(rng.randint(1, 40))]
    return midi_file([b"".join(events)])


def _huge_deltas(rng: random.Random) -> bytes:
    """Notes that are very far apart, or very long."""
    events = []
    for _ in range(rng.randint(1, 6)):
        delta = variable_length(rng.choice((_MAX_VARIABLE_LENGTH, 1 << 21, 1 << 14, 0)))
        events.append(
            delta + b"\x90\x3c\x40" + variable_length(rng.choice((1, _MAX_VARIABLE_LENGTH))) + b"\x80\x3c\x00"
        )
    return midi_file([b"".join(events)], division=rng.choice(_DIVISIONS))


def _long_variable_lengths(rng: random.Random) -> bytes:
    """Delta times and lengths of too many bytes."""
    delta = bytes([0xFF]) * rng.choice((4, 5, 9, 200)) + b"\x00"
    return midi_file([rng.choice((delta + b"\x90\x3c\x40", b"\x00\xff\x01" + delta, b"\x00\xf0" + delta))])


def _nested_exclusives(rng: random.Random) -> bytes:
    """System exclusives within and after one another, continued or not, with false lengths."""
    events = []
    for _ in range(rng.randint(1, 60)):
        body = rng.choice((b"", b"\xf0", b"\xf7", b"\xf0\x7e\xf0", b"\xff\x2f\x00", rng.randbytes(rng.randint(1, 20))))
        length = len(body) + rng.choice((0, 0, 0, 1, 1000))
        events.append(b"\x00" + rng.choice((b"\xf0", b"\xf7")) + variable_length(length) + body)
    events.append(b"\x00\x90\x3c\x40\x10\x80\x3c\x00")
    return midi_file([b"".join(events)])


def _many_tracks(rng: random.Random) -> bytes:
    """Many tracks, empty or with a note, more or fewer than the header says."""
    track = rng.choice((b"", b"\x00\x90\x3c\x40\x10\x80\x3c\x00"))
    data = midi_file([track] * rng.choice((2, 63, 64, 65, 1024, 1025, 3000)), midi_format=rng.choice((0, 1, 2)))
    return _with_wrong_structure(rng, data) if rng.random() < 0.5 else data


def _all_channels(rng: random.Random) -> bytes:
    """Every track plays on every channel."""
    events = b"".join(bytes((0, 0x90 | channel, 40 + channel, 64)) for channel in range(16))
    return midi_file([events] * rng.choice((1, 4, 16, 64)))


def _many_notes(rng: random.Random) -> bytes:
    """Very many notes in few bytes: running status, all at once or one after another, released or not."""
    one = rng.choice((b"\x00\x3c\x40", b"\x01\x3c\x40\x01\x3c\x00", b"\x00\x3c\x40\x00\x3c\x00"))
    return midi_file([b"\x00\x90\x3c\x40" + one * rng.choice((100, 5_000, 30_000))])


def _many_changes(rng: random.Random) -> bytes:
    """Very many tempos, meters, keys or programs."""
    one = rng.choice(
        (
            b"\x01\xff\x51\x03" + rng.randbytes(3),
            b"\x01\xff\x58\x04" + rng.randbytes(4),
            b"\x01\xff\x59\x02" + rng.randbytes(2),
            b"\x01\xc0\x05",
            b"\x01\xe0\x00\x40",
        )
    )
    return midi_file([one * rng.choice((10, 2_000, 20_000)) + b"\x00\x90\x3c\x40\x10\x80\x3c\x00"])


def _odd_meters(rng: random.Random) -> bytes:
    """Meters that do not exist, of length zero, or very many in a bar."""
    numerator, power = rng.choice((0, 1, 64, 65, 255)), rng.choice((0, 5, 6, 63, 255))
    meter = b"\x00\xff\x58\x04" + bytes((numerator, power, rng.randrange(256), rng.randrange(256)))
    tempo = b"\x00\xff\x51\x03" + rng.choice((b"\x00\x00\x00", b"\xff\xff\xff", b"\x00\x00\x01"))
    division = rng.choice(_DIVISIONS)
    return midi_file([meter + tempo + b"\x00\x90\x3c\x40\x60\x80\x3c\x00"], division=division)


def _noise(rng: random.Random) -> bytes:
    """Random bytes, in a container or not."""
    data = rng.randbytes(rng.randint(0, 300))
    return rng.choice((data, midi_file([data]), b"RIFF" + data, chunk(b"MThd", data), b"MThd" + data))


_HOSTILE: Final[tuple[Callable[[random.Random], bytes], ...]] = (
    _running_status,
    _huge_deltas,
    _long_variable_lengths,
    _nested_exclusives,
    _many_tracks,
    _all_channels,
    _many_notes,
    _many_changes,
    _odd_meters,
    _noise,
)
