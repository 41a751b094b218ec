"""Renders pieces as WAV with a SoundFont. It needs midirenderer, which the extra `audio` installs.

The synthesizer reads the piece's MIDI bytes, so tempo, programs and velocities are those of the MIDI file.
"""

import io
import os
import wave
from array import array
from importlib.resources import files
from pathlib import Path

from fantasia_client.errors import MissingExtraError
from fantasia_client.types import Piece

try:
    import midirenderer
except ImportError as error:
    raise MissingExtraError(
        "audio needs midirenderer, which is not installed (on Linux it needs glibc 2.17 or later, on ARM64 glibc 2.34 "
        "or later): pip install 'fantasia-client[audio]'"
    ) from error

TAIL_SECONDS = 2.0
"""Sound after the end of the piece: the last notes and the room die away in it."""
PEAK = 23197
"""Largest sample of a file, of 32767: -3 dBFS."""

_FADE_SECONDS = 0.05
_LOUDEST, _FULL_SCALE = 127, 32767


def render_wav(piece: Piece, *, soundfont: str | os.PathLike[str] | None = None) -> bytes:
    """Render the piece and return the bytes of a WAV file: 48 kHz, stereo, 16 bits, peak at -3 dBFS.

    The same MIDI bytes and SoundFont give the same WAV bytes. It lasts as long as the piece, and `TAIL_SECONDS` more.

    Args:
        piece: generated piece.
        soundfont: SoundFont 2 file (`.sf2`) with the instruments; None for the client's own.

    Raises:
        OSError: the SoundFont cannot be read.
        ValueError: the SoundFont or the MIDI bytes are invalid. A compressed SoundFont (`.sf3`) is not supported.
    """
    if soundfont is None:
        name, font = "the client's SoundFont", (files("fantasia_client") / "soundfont" / "fantasia.sf2").read_bytes()
    else:
        name, font = os.fspath(soundfont), Path(soundfont).read_bytes()
    end_ticks = max([piece.length_ticks, *(note.onset_ticks + note.duration_ticks for note in piece.notes)])
    volume = _LOUDEST
    while True:
        rendered = _synthesize(font, _with_tail(piece.midi, end_ticks / piece.ticks_per_quarter, volume), name)
        with wave.open(io.BytesIO(rendered)) as reader:
            rate = reader.getframerate()
            samples = array("h", reader.readframes(reader.getnframes()))
        loudest = max(max(samples, default=0), -min(samples, default=0))
        if loudest < _FULL_SCALE or volume == 1:
            break
        volume //= 2  # the synthesizer clips at full scale
    return _wav_file(_normalized(samples, loudest, round(_FADE_SECONDS * rate)), rate)


def _with_tail(midi: bytes, quarters: float, volume: int) -> bytes:
    """The MIDI file with one more track: the volume of all channels, and silence after the end of the piece.

    Args:
        midi: a Standard MIDI File with ticks per quarter note.
        quarters: end of the piece in quarter notes.
        volume: MIDI volume (controller 7), 1 to 127.
    """
    tracks = int.from_bytes(midi[10:12], "big")
    division = int.from_bytes(midi[12:14], "big")
    if midi[:8] != b"MThd\0\0\0\6" or not 0 < division < 0x8000:
        raise ValueError("the piece has no MIDI file with ticks per quarter note")
    events = b"".join(bytes((0, 0xB0 | channel, 7, volume)) for channel in range(16))
    # From the end on, a quarter note lasts a second.
    events += _variable_length(round(quarters * division)) + b"\xff\x51\x03" + (1_000_000).to_bytes(3, "big")
    events += _variable_length(round(TAIL_SECONDS * division)) + b"\xb0\x07" + bytes((volume,))
    events += b"\x00\xff\x2f\x00"
    header = midi[:8] + b"\x00\x01" + (tracks + 1).to_bytes(2, "big") + midi[12:14]
    return header + midi[14:] + b"MTrk" + len(events).to_bytes(4, "big") + events


def _variable_length(number: int) -> bytes:
    """A number as a MIDI file writes it: seven bits a byte, the highest bit on all but the last."""
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.append(number & 0x7F | 0x80)
    return bytes(reversed(digits))


def _synthesize(font: bytes, midi: bytes, name: str) -> bytes:
    try:
        return midirenderer.render_wave_from(font, midi)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the synthesizer is not an Exception
        raise ValueError(f"cannot render the piece with {name}: {error}") from error


def _normalized(samples: "array[int]", loudest: int, fade_frames: int) -> "array[int]":
    """The samples with their peak at `PEAK`, and a linear fade in the last frames. Silence stays silence."""
    # A table is much faster than a product for each sample. A negative sample reads it from its end.
    gain = PEAK / max(loudest, 1)
    table = [round(value * gain) if abs(value) <= loudest else 0 for value in [*range(32768), *range(-32768, 0)]]
    louder = array("h", map(table.__getitem__, samples))
    count = min(2 * fade_frames, len(louder))
    for index in range(1, count + 1):
        louder[-index] = louder[-index] * (index - 1) // count
    return louder


def _wav_file(samples: "array[int]", rate: int) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as writer:
        writer.setnchannels(2)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(samples.tobytes())
    return buffer.getvalue()
