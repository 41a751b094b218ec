"""The percussion channels of a MIDI file.

In General MIDI, channel 10 is percussion. Roland's GS, Yamaha's XG and General MIDI 2 have messages that change it.
These messages count if the file switches the standard on.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from music.midi.track import SmfTrack
from music.midi.voices import MidiVoice

GM_PERCUSSION_CHANNEL: Final = 9
"""Channel 10, counted from 0."""

_XG_BANKS: Final = {126: True, 127: True, 0: False, 64: False}
"""Whether a bank of XG (most significant byte) is percussion: SFX kits, drum kits, voices, SFX voices."""
_GM2_BANKS: Final = {120: True, 121: False}
"""Whether a bank of General MIDI 2 is percussion: rhythm, melody."""


def percussion_channels(tracks: Iterable[SmfTrack], voices: Iterable[MidiVoice]) -> frozenset[int]:
    """The channels that are percussion, for the whole piece.

    Args:
        tracks: with the system exclusive messages.
        voices: with the banks.
    """
    percussion = {GM_PERCUSSION_CHANNEL: True}
    banks: dict[int, bool] = {}
    for data in _system_exclusives(tracks):
        if data[:1] == b"\x43" and data[2:7] == b"\x4c\x00\x00\x7e\x00":
            banks = _XG_BANKS
        elif data[:1] == b"\x7e" and data[2:4] == b"\x09\x03":
            banks = _GM2_BANKS
        elif (part := _gs_part(data)) is not None:
            percussion[part] = data[7] != 0
    for voice in voices:
        if voice.bank in banks:
            percussion[voice.channel] = banks[voice.bank]
    return frozenset(channel for channel, is_percussion in percussion.items() if is_percussion)


def _system_exclusives(tracks: Iterable[SmfTrack]) -> Iterator[bytes]:
    for track in tracks:
        for event in track.system_exclusives:
            yield event.data


def _gs_part(data: bytes) -> int | None:
    """The channel of a GS message that sets parameter 40 1x 15 (Use for Rhythm Part); None for other messages."""
    if len(data) < 8 or data[0] != 0x41 or data[2:5] != b"\x42\x12\x40" or data[6] != 0x15 or data[5] >> 4 != 1:
        return None
    part = data[5] & 0x0F
    return GM_PERCUSSION_CHANNEL if part == 0 else part - 1 if part <= GM_PERCUSSION_CHANNEL else part
