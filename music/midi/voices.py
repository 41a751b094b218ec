"""What each channel of a MIDI track plays: strikes and releases to notes."""

from collections import Counter
from typing import Final, NamedTuple

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
"""A pedal is down from this value on."""


class PlayedNote(NamedTuple):
    """A note in the file's ticks."""

    onset: int
    end: int
    pitch: int
    velocity: int


class _Strike(NamedTuple):
    tick: int
    pitch: int
    velocity: int


class MidiVoice:
    """What one channel of one track plays.

    The first release of a key ends its first strike that is still held. Where a key is never released as often as it is
    struck, each release ends the last strike before it instead, so that one forgotten release prolongs one note.

    Args:
        channel: the channel, from 0.
    """

    def __init__(self, channel: int) -> None:
        self.channel = channel
        self.notes: list[PlayedNote] = []
        """Notes in the order of their ends, complete once `finish` was called."""
        self.program: int | None = None
        """The program in force where the first note is struck, or at last where none is; None if the track has none."""
        self.bank: int | None = None
        """Most significant byte of the bank in force there; None if the track has none."""
        self.struck = 0
        """Notes struck, whether or not they have a pitch."""
        self.unpitched: Counter[str] = Counter()
        """Of these, those that have none: `bad_key` (a key above 127), `out_of_range` (tuned out of 0 to 127)."""
        self.unreleased = 0
        """Notes that no release of their key has ended."""
        self.other: Counter[str] = Counter()
        """What else the channel says: pedals, bends, changes of program, by kind."""
        self.last_tick = 0
        """Tick of the last strike or release."""
        self._first_tick = -1
        self._sounding_program: int | None = None
        self._program: int | None = None
        self._bank: int | None = None
        self._tuning = 0
        self._parameter = _PARAMETER_NONE
        self._down: set[int] = set()
        self._bent = False
        self._held: dict[int, list[_Strike | int]] = {}
        """By key that is held: strikes, and ticks of releases, since it was last free."""
        self._open: Counter[int] = Counter()
        """By key: strikes not released."""

    def strike(self, tick: int, key: int, velocity: int) -> None:
        """A key is struck."""
        if self._first_tick < 0:
            self._first_tick = tick
            self.program, self.bank, self._sounding_program = self._program, self._bank, self._program
        elif self._program != self._sounding_program:
            self._sounding_program = self._program
            self.other["program_changes"] += 1
        self.struck += 1
        self.last_tick = tick
        pitch = key + self._tuning
        if key > 127:
            self.unpitched["bad_key"] += 1
        elif not 0 <= pitch <= 127:
            self.unpitched["out_of_range"] += 1
        else:
            self._held.setdefault(key, []).append(_Strike(tick, pitch, min(velocity, 127)))
            self._open[key] += 1

    def release(self, tick: int, key: int) -> None:
        """A key is released; one that is not held has nothing to end."""
        events = self._held.get(key)
        if events is None:
            return
        self.last_tick = tick
        self._open[key] -= 1
        if self._open[key]:
            events.append(tick)
            return
        del self._held[key]
        if len(events) == 1:
            (strike,) = events
            assert isinstance(strike, _Strike)
            self.notes.append(PlayedNote(strike.tick, tick, strike.pitch, strike.velocity))
            return
        strikes = [event for event in events if isinstance(event, _Strike)]
        releases = [*(event for event in events if not isinstance(event, _Strike)), tick]
        for strike, end in zip(strikes, releases, strict=True):
            self.notes.append(PlayedNote(strike.tick, end, strike.pitch, strike.velocity))

    def finish(self, tick: int) -> None:
        """End every note that is still held."""
        for events in self._held.values():
            earlier: list[_Strike] = []
            now: list[_Strike] = []  # those at the tick of the last one: a release at that tick is not meant for them
            for event in events:
                at = event.tick if isinstance(event, _Strike) else event
                if now and now[-1].tick < at:
                    earlier += now
                    now.clear()
                if isinstance(event, _Strike):
                    now.append(event)
                else:
                    strike = (earlier or now).pop()
                    self.notes.append(PlayedNote(strike.tick, event, strike.pitch, strike.velocity))
            for strike in earlier + now:
                self.unreleased += 1
                self.notes.append(PlayedNote(strike.tick, max(strike.tick, tick), strike.pitch, strike.velocity))
        self._held.clear()
        self._open.clear()
        if not self.struck:  # what it says is of the same channel in other tracks
            self.program, self.bank = self._program, self._bank

    def change_program(self, tick: int, program: int) -> None:
        """The notes to come have another sound, and those struck at this very tick too."""
        self._program = program & 0x7F
        if tick == self._first_tick and self.program is None:
            self.program = self._sounding_program = self._program

    def bend(self, value: int) -> None:
        """The pitch wheel moves; 8192 is its centre."""
        bent = value != _NO_BEND
        self.other["pitch_bend"] += bent and not self._bent
        self._bent = bent

    def control(self, tick: int, controller: int, value: int) -> None:
        """A controller moves, or the channel's mode changes."""
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


def voices_of(track: SmfTrack) -> list[MidiVoice]:
    """What the channels of a track play, in the channels' order; notes that are still held are not yet finished."""
    voices: dict[int, MidiVoice] = {}
    for tick, status, first, second in track.messages:
        voice = voices.get(status & 0x0F)
        if voice is None:
            voice = voices.setdefault(status & 0x0F, MidiVoice(status & 0x0F))
        kind = status & 0xF0
        if kind == _NOTE_ON and second:
            voice.strike(tick, first, second)
        elif kind in (_NOTE_ON, _NOTE_OFF):
            voice.release(tick, first)
        elif kind == _CONTROL:
            voice.control(tick, first, second)
        elif kind == _PROGRAM:
            voice.change_program(tick, first)
        elif kind in (_KEY_PRESSURE, _CHANNEL_PRESSURE):
            voice.other["pressure"] += 1
        else:
            voice.bend(second << 7 | first)
    return [voices[channel] for channel in sorted(voices)]
