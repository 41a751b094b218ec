"""The notes of each channel of a MIDI track, from note-on and note-off messages."""

from collections import Counter
from typing import Final, NamedTuple, TypeAlias

from music.midi.track import SmfTrack

_NOTE_OFF: Final = 0x80
_NOTE_ON: Final = 0x90
_KEY_PRESSURE: Final = 0xA0
_CONTROL: Final = 0xB0
_PROGRAM: Final = 0xC0
_CHANNEL_PRESSURE: Final = 0xD0

_BANK: Final = 0
_DATA_ENTRY: Final = 6
_BANK_LOW: Final = 32
_DATA_ENTRY_LOW: Final = 38
_PARAMETER_UNREGISTERED: Final = frozenset((98, 99))
_PARAMETER_LOW: Final = 100
_PARAMETER_HIGH: Final = 101
_PEDALS: Final = {64: "pedal", 66: "sostenuto", 67: "soft_pedal"}
_RESET_CONTROLLERS: Final = 121
_NOTES_OFF: Final = frozenset((120, 123, 124, 125, 126, 127))
"""All Sound Off, All Notes Off, and the mode messages, which end all notes too."""

_FINE_TUNING: Final = (0, 1)
_COARSE_TUNING: Final = (0, 2)
_PARAMETER_NONE: Final = (127, 127)
_CENTRE: Final = 64
_NO_BEND: Final = 64 << 7
_DOWN: Final = 64
"""Minimum value of a pedal that is down."""


class PlayedNote(NamedTuple):
    """A note in file ticks."""

    onset: int
    end: int
    pitch: int
    velocity: int


_NoteOn: TypeAlias = tuple[int, int, int]
"""Tick, pitch, velocity. A plain tuple of numbers costs the garbage collector nothing, a named one does."""


class MidiVoice:
    """The notes of one channel of one track.

    A note-off ends the oldest note of its key that still sounds. But if a key has fewer note-offs than note-ons, each
    note-off ends the newest note before it: then a missing note-off makes only one note too long.

    Args:
        channel: from 0.
    """

    def __init__(self, channel: int) -> None:
        self.channel = channel
        self.notes: list[PlayedNote] = []
        """Notes in the order of their ends; complete after `finish`."""
        self.program: int | None = None
        """The program at the first note, or at the end if there is no note; None if the track sets none."""
        self.bank: int | None = None
        """Most significant byte of the bank at the same time; None if the track sets none."""
        self.note_ons = 0
        """Number of note-ons, with and without a pitch."""
        self.unpitched: Counter[str] = Counter()
        """Note-ons without a pitch: `bad_key` (a key above 127), `out_of_range` (tuned to outside 0 to 127)."""
        self.unreleased = 0
        """Number of notes without a note-off."""
        self.other: Counter[str] = Counter()
        """Number of other messages, such as pedals, bends, program changes, by kind."""
        self.last_tick = 0
        """Tick of the last note-on or note-off."""
        self._first_tick = -1
        self._note_program: int | None = None
        self._program: int | None = None
        self._bank: int | None = None
        self._tuning = 0
        self._parameter = _PARAMETER_NONE
        self._down: set[int] = set()
        self._bent = False
        self._sounding: dict[int, list[_NoteOn | int]] = {}
        """By sounding key: note-ons, and ticks of note-offs, since the key was last silent."""
        self._open: dict[int, int] = {}
        """Number of note-ons without note-off, by key."""

    def note_on(self, tick: int, key: int, velocity: int) -> None:
        """Handle a note-on."""
        if self._first_tick < 0:
            self._first_tick = tick
            self.program, self.bank, self._note_program = self._program, self._bank, self._program
        elif self._program != self._note_program:
            self._note_program = self._program
            self.other["program_changes"] += 1
        self.note_ons += 1
        self.last_tick = tick
        pitch = key + self._tuning
        if key > 127:
            self.unpitched["bad_key"] += 1
        elif not 0 <= pitch <= 127:
            self.unpitched["out_of_range"] += 1
        else:
            note = (tick, pitch, velocity if velocity < 128 else 127)
            events = self._sounding.get(key)
            if events is None:
                self._sounding[key] = [note]
                self._open[key] = 1
            else:
                events.append(note)
                self._open[key] += 1

    def note_off(self, tick: int, key: int) -> None:
        """Handle a note-off; without a sounding note of the key it is ignored."""
        events = self._sounding.get(key)
        if events is None:
            return
        self.last_tick = tick
        self._open[key] -= 1
        if self._open[key]:
            events.append(tick)
            return
        del self._sounding[key]
        if len(events) == 1:
            (start,) = events
            assert isinstance(start, tuple)
            onset, pitch, velocity = start
            self.notes.append(PlayedNote(onset, tick, pitch, velocity))
            return
        starts = [event for event in events if isinstance(event, tuple)]
        ends = [*(event for event in events if not isinstance(event, tuple)), tick]
        for (onset, pitch, velocity), end in zip(starts, ends, strict=True):
            self.notes.append(PlayedNote(onset, end, pitch, velocity))

    def finish(self, tick: int) -> None:
        """End all notes that still sound."""
        for events in self._sounding.values():
            earlier: list[_NoteOn] = []
            now: list[_NoteOn] = []  # at the tick of the last note-on: a note-off at that tick does not end them
            for event in events:
                at = event[0] if isinstance(event, tuple) else event
                if now and now[-1][0] < at:
                    earlier += now
                    now.clear()
                if isinstance(event, tuple):
                    now.append(event)
                else:
                    onset, pitch, velocity = (earlier or now).pop()
                    self.notes.append(PlayedNote(onset, event, pitch, velocity))
            for onset, pitch, velocity in earlier + now:
                self.unreleased += 1
                self.notes.append(PlayedNote(onset, max(onset, tick), pitch, velocity))
        self._sounding.clear()
        self._open.clear()
        if not self.note_ons:  # its messages concern the same channel in other tracks
            self.program, self.bank = self._program, self._bank

    def change_program(self, tick: int, program: int) -> None:
        """Change the program of later notes, and of notes at this tick."""
        self._program = program & 0x7F
        if tick == self._first_tick and self.program is None:
            self.program = self._note_program = self._program

    def bend(self, value: int) -> None:
        """Handle a pitch bend; 8192 is the centre."""
        bent = value != _NO_BEND
        self.other["pitch_bend"] += bent and not self._bent
        self._bent = bent

    def control(self, tick: int, controller: int, value: int) -> None:
        """Handle a controller or mode message."""
        if controller in _PEDALS:
            if value >= _DOWN and controller not in self._down:
                self.other[_PEDALS[controller]] += 1
                self._down.add(controller)
            elif value < _DOWN:
                self._down.discard(controller)
        elif controller in _NOTES_OFF:
            self.finish(tick)
        elif controller == _RESET_CONTROLLERS:
            self._down.clear()
            self._bent = False
            self._parameter = _PARAMETER_NONE
        elif controller == _BANK:
            self._bank = value
        elif controller == _PARAMETER_HIGH:
            self._parameter = (value, self._parameter[1])
        elif controller == _PARAMETER_LOW:
            self._parameter = (self._parameter[0], value)
        elif controller in _PARAMETER_UNREGISTERED:
            self._parameter = _PARAMETER_NONE
        elif controller == _DATA_ENTRY and self._parameter == _COARSE_TUNING:
            self._tuning = value - _CENTRE
        elif controller == _DATA_ENTRY and self._parameter == _FINE_TUNING:
            self.other["fine_tuning"] += value != _CENTRE
        elif controller not in (_BANK_LOW, _DATA_ENTRY_LOW):
            self.other["controllers"] += 1


def channel_voices(track: SmfTrack) -> list[MidiVoice]:
    """The voices of a track, by channel. Notes that still sound at the end of the track are not ended yet."""
    voices: dict[int, MidiVoice] = {}
    for tick, status, data1, data2 in track.messages:
        voice = voices.get(status & 0x0F)
        if voice is None:
            voice = voices.setdefault(status & 0x0F, MidiVoice(status & 0x0F))
        kind = status & 0xF0
        if kind == _NOTE_ON and data2:
            voice.note_on(tick, data1, data2)
        elif kind in (_NOTE_ON, _NOTE_OFF):
            voice.note_off(tick, data1)
        elif kind == _CONTROL:
            voice.control(tick, data1, data2)
        elif kind == _PROGRAM:
            voice.change_program(tick, data1)
        elif kind in (_KEY_PRESSURE, _CHANNEL_PRESSURE):
            voice.other["pressure"] += 1
        else:
            voice.bend(data2 << 7 | data1)
    return [voices[channel] for channel in sorted(voices)]
