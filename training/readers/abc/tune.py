"""Parses one ABC tune: header, body, voices."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from music.errors import InvalidScoreError
from training.readers.abc.book import Line, Tune
from training.readers.abc.fields import (
    AbcMeter,
    default_length,
    parse_length,
    parse_meter,
    parse_part_order,
    parse_tempo,
)
from training.readers.abc.key import Key, Transposition, parse_key, parse_transposition, voice_name
from training.readers.abc.macros import Macro, expand, parse_macro
from training.readers.abc.music import MusicReader
from training.readers.abc.voice import Voice

_BODY_FIELDS: Final = frozenset("IKLMmNPQRrSsTUVWwXZ+OH")
_NOTE_LETTERS: Final = frozenset("ABCDEFGabcdefgzx")
_MAX_VOICES: Final = 64
_MIDI: Final = re.compile(r"MIDI\s*=?\s*(transpose|rtranspose|program|channel)\s+(.*)", re.IGNORECASE)
_PROPAGATE: Final = re.compile(r"propagate-accidentals\s+(not|octave|pitch)")
_CUT_OFF: Final = re.compile(r'\[(?![\d|"]|[A-Za-z]:)[^\]|\[]*$')
"""A chord that continues on the next line, as in files wrapped by a mail program."""
_MAX_CUT_LINES: Final = 10
"""Maximum number of lines of a chord; beyond it, the closing bracket is missing."""
_DRUM_CHANNEL: Final = 10


@dataclass(slots=True)
class ParsedTune:
    """A parsed tune; bars are in written order."""

    voices: dict[str, Voice]
    tempos: list[float]
    """Quarter notes per minute, in order."""
    part_order: str
    program: int
    other: Counter[str]
    """Content that is not notes and has no place in a score."""


def parse_tune(tune: Tune) -> ParsedTune:
    """Read the fields and the music of a tune.

    Raises:
        InvalidScoreError: a field or the music is invalid; the message names the line.
    """
    return _Parser(tune).parse()


@dataclass(slots=True)
class _Defaults:
    """The values of the header, with which every voice starts."""

    meter: AbcMeter = field(default_factory=AbcMeter)
    unit: Fraction | None = None
    key: Key = field(default_factory=Key)
    transposition: Transposition = field(default_factory=Transposition)
    midi_transpose: int = 0
    propagate: str = "pitch"
    percussion: bool = False
    programs: list[int] = field(default_factory=list)
    tempi: list[str] = field(default_factory=list)


class _Parser:
    def __init__(self, tune: Tune) -> None:
        self._tune = tune
        self._defaults = _Defaults()
        self._other: Counter[str] = Counter()
        self._music = MusicReader(self._other)
        self._macros: list[Macro] = []
        self._declared: dict[str, list[str]] = {}
        self._voices: dict[str, Voice] = {}
        self._voice: Voice | None = None
        self._part_order = ""
        self._tempi: list[float] = []
        self._cut_off, self._cut_off_line = "", 0

    def parse(self) -> ParsedTune:
        for line in self._tune.file_header:
            try:
                self._header(line)
            except InvalidScoreError:
                continue  # text for people that looks like a field
        lines = iter(self._tune.lines)
        self._read(lines)
        if self._cut_off:
            raise InvalidScoreError(f"line {self._cut_off_line}: a chord without an end")
        for voice in self._voices.values():
            voice.end()
        programs = set(self._defaults.programs)
        self._other["other_programs"] += max(0, len(programs) - 1)
        return ParsedTune(
            voices={name: voice for name, voice in self._voices.items() if voice.bars},
            tempos=self._tempi,
            part_order=self._part_order,
            program=self._defaults.programs[0] if programs else 0,
            other=+self._other,
        )

    def _read(self, lines: Iterable[Line]) -> None:
        lines = list(lines)
        has_key = any(line.field is not None and line.field[0] == "K" for line in lines)
        in_header = True
        for line in lines:
            try:
                if in_header and line.field is None and line.directive is None and line.text.strip():
                    if has_key:
                        continue  # words that go on with a field, as ABC 1 allowed
                    in_header = False
                if in_header:
                    in_header = not self._header(line)
                    if not in_header:
                        self._end_header()
                else:
                    self._body(line)
            except InvalidScoreError as error:
                raise InvalidScoreError(f"line {line.number}: {error}") from error

    def _header(self, line: Line) -> bool:
        """Handle a line of the header; True if it is the last one."""
        if line.directive is not None:
            self._directive(line.directive, None)
            return False
        letter, value = line.field or ("", "")
        match letter:
            case "M":
                self._defaults.meter = parse_meter(value)
            case "L":
                self._defaults.unit = parse_length(value)
            case "Q":
                self._defaults.tempi.append(value)
            case "P":
                self._part_order = parse_part_order(value)
            case "V":
                name, properties = _voice_of(value)
                self._declared.setdefault(name, []).append(properties)
            case "U":
                self._symbol(value)
            case "m":
                self._macros.append(parse_macro(value))
            case "K":
                self._defaults.key = parse_key(value, self._defaults.key)
                self._defaults.transposition = parse_transposition(value, self._defaults.transposition)
                return True
        return False

    def _end_header(self) -> None:
        unit = self._unit()
        for text in self._defaults.tempi:
            self._tempo(text, unit)

    def _unit(self) -> Fraction:
        return self._defaults.unit or default_length(self._defaults.meter)

    def _body(self, line: Line) -> None:
        if line.directive is not None:
            self._directive(line.directive, self._voice)
            return
        field_ = line.field
        if field_ is not None and len(field_[0]) == 1 and not _is_music(line.text):
            if self._voice is None and field_[0] in "KLM":
                self._header(line)  # before any voice: for all of them
            else:
                self._voice = self._change(*field_)
        elif line.text.startswith("+:"):
            return  # goes on with a field of words
        elif line.text.strip():
            self._music_line(line)

    def _music_line(self, line: Line) -> None:
        text = self._cut_off + line.text
        if not _CUT_OFF.search(text):
            self._cut_off = ""
            self._voice = self._music.read(expand(text, self._macros), self._current(), self._change)
            return
        if not self._cut_off:
            self._cut_off_line = line.number
        elif line.number > self._cut_off_line + _MAX_CUT_LINES:
            raise InvalidScoreError(f"a chord without an end; it begins in line {self._cut_off_line}")
        self._cut_off = text

    def _current(self) -> Voice:
        if self._voice is None:
            self._voice = self._enter(next(iter(self._declared), ""))
        return self._voice

    def _enter(self, name: str) -> Voice:
        voice = self._voices.get(name)
        if voice is None:
            if len(self._voices) == _MAX_VOICES:
                raise InvalidScoreError(f"more than {_MAX_VOICES} voices")
            begin = self._defaults
            voice = Voice(begin.key, begin.meter, self._unit(), begin.transposition, begin.midi_transpose)
            voice.propagate, voice.percussion = begin.propagate, begin.percussion
            self._voices[name] = voice
            for properties in self._declared.get(name, ()):
                self._describe(voice, properties)
        return voice

    def _describe(self, voice: Voice, properties: str) -> None:
        voice.transposition = parse_transposition(properties, voice.transposition)
        voice.name = voice_name(properties) or voice.name

    def _change(self, letter: str, value: str) -> Voice:
        """Handle a field of the body."""
        if letter == "V":
            name, properties = _voice_of(value)
            voice = self._enter(name)
            self._describe(voice, properties)
            self._voice = voice
            return voice
        voice = self._current()
        match letter:
            case "K":
                voice.change(key=parse_key(value, voice.key))
                voice.transposition = parse_transposition(value, voice.transposition)
            case "M":
                voice.change(meter=parse_meter(value))
            case "L":
                voice.unit = parse_length(value)
            case "Q":
                self._tempo(value, voice.unit)
            case "P":
                label = re.match(r"[A-Za-z](?![A-Za-z])", value)
                voice.begin_part(label[0] if label is not None else "")
            case "U":
                self._symbol(value)
            case "m":
                self._macros.append(parse_macro(value))
            case "I":
                self._directive(value, voice)
        return voice

    def _tempo(self, text: str, unit: Fraction) -> None:
        tempo = parse_tempo(text, unit)
        if tempo is not None:
            self._tempi.append(tempo)

    def _symbol(self, value: str) -> None:
        letter, _, meaning = value.partition("=")
        if len(letter.strip()) == 1:
            self._music.symbols[letter.strip()] = meaning.strip().strip("!+")

    def _directive(self, text: str, voice: Voice | None) -> None:
        spread = _PROPAGATE.match(text)
        if spread is not None:
            if voice is None:
                self._defaults.propagate = spread[1]
            for each in self._voices.values():
                each.propagate = spread[1]
            return
        match = _MIDI.match(text)
        numbers = [] if match is None else [int(number) for number in re.findall(r"-?\d{1,3}", match[2])]
        if match is None or not numbers:
            return
        kind = match[1].lower()
        if kind == "program":
            self._defaults.programs.append(min(max(numbers[-1], 0), 127))
        elif kind == "channel" and voice is None:
            self._defaults.percussion = numbers[0] == _DRUM_CHANNEL
        elif kind == "channel" and voice is not None:
            voice.percussion = numbers[0] == _DRUM_CHANNEL
        elif abs(numbers[0]) > 127:
            raise InvalidScoreError(f"a transposition by {numbers[0]} semitones")
        elif voice is None:
            self._defaults.midi_transpose = numbers[0]
        elif kind == "rtranspose":
            voice.midi_transpose += numbers[0]
        else:
            voice.midi_transpose = numbers[0]


def _voice_of(value: str) -> tuple[str, str]:
    """Identifier and properties of a `V:` field."""
    name, *properties = value.split(maxsplit=1) or [""]
    return name, "".join(properties)


def _is_music(text: str) -> bool:
    """Whether a line that begins like a field is music: `A:|`, or a letter that is not a body field."""
    return text[0] not in _BODY_FIELDS and text[0] in _NOTE_LETTERS and text[2:3] in tuple("|:][")
