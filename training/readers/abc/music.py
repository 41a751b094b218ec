"""Reads the music code of ABC, line by line, into voices (ABC 2.1, section 4)."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Final

from music.errors import InvalidScoreError
from training.readers.abc.bars import Marks
from training.readers.abc.voice import AbcNote, Voice

_LENGTH: Final = r"\d*(?:/+\d*)?"
_NOTE: Final = rf"(?:\^{{1,2}}|_{{1,2}}|=)?(?:\d*/\d*)?[A-Ga-g][,']*{_LENGTH}"
_TOKEN: Final = re.compile(
    rf"""
      \[(?P<field>[A-Za-z]):(?P<value>[^\]]*)\]
    | "(?P<text>[^"]*)"
    | (?P<quote>[!+])(?P<decoration>[^!+\s|\[\]"]+)(?P=quote)
    | \{{(?P<grace>[^}}]*)\}}
    | \((?P<p>\d+)(?::(?P<q>\d*))?(?::(?P<r>\d*))?
    | \.?(?P<bar>:*\[?\|[|\]:]*|::+)(?P<pass>\d[\d,.-]*|[ ]+\d(?!\d))?
    | \[(?P<ending>\d[\d,.\s-]*)
    | \[(?P<chord>[^\]|\[]*)\](?P<chord_length>{_LENGTH})\s*(?P<chord_tie>-?)
    | \[(?=")
    | (?P<note>{_NOTE})\s*(?P<tie>-?)
    | (?P<rest>[zx])(?P<rest_length>{_LENGTH})
    | (?P<bars>[ZX])(?P<bar_count>\d*)
    | y{_LENGTH}
    | (?P<broken>>+|<+)
    | (?P<overlay>\(?&\)?)
    | (?P<dash>-)
    | (?P<symbol>[.~H-Wh-w])
    | [\s)`\\*$]+
    | \(
    """,
    re.VERBOSE,
)
_NOTE_PARTS: Final = re.compile(rf"(\^{{1,2}}|_{{1,2}}|=)?(\d*/\d*)?([A-Ga-g])([,']*)({_LENGTH})$")
_CHORD_NOTE: Final = re.compile(rf"(?P<note>{_NOTE})\s*(?P<tie>-?)|[\"!+][^\"!+]*[\"!+]|[zx]{_LENGTH}|[\s.~H-Wh-w()]")
_GRACE_NOTE: Final = re.compile(rf"{_NOTE}")
_LENGTH_PARTS: Final = re.compile(r"(\d*)(/*)(\d*)$")
_ALTERATION: Final = {"^^": 2, "^": 1, "=": 0, "_": -1, "__": -2}
_OPEN: Final = {'"': "a text", "{": "grace notes", "[": "a chord"}
_MAX_PASSES: Final = 32
_CHORD_SYMBOL: Final = re.compile(r"\(?[A-G]|N\.?C\.?$")
_PLACEMENT: Final = "^_<>@"
_WORDS: Final = {
    "segno": "segno", "coda": "coda", "fine": "fine", "dacoda": "dc", "dacapo": "dc", "dalsegno": "ds",
    "dc": "dc", "dcalfine": "dc", "dcalcoda": "dc", "dacapoalfine": "dc", "dacapoalcoda": "dc",
    "ds": "ds", "dsalfine": "ds", "dsalcoda": "ds", "dalsegnoalfine": "ds", "dalsegnoalcoda": "ds",
}  # fmt: skip
"""Meaning of jump texts, without dots and spaces, as decorations or as text above the staff."""
_SYMBOLS: Final = {"S": "segno", "O": "coda"}
_OLD_CHORD: Final = re.compile(rf"(?:{_NOTE}){{2,}}$")
_DYNAMICS: Final = re.compile(r"[mp]?[pf]$|pp+|ff+$|s?fz?$")

FieldHandler = Callable[[str, str], Voice]
"""Handles an inline field (letter, value) and returns the voice that continues."""


class MusicReader:
    """Reads lines of music into voices."""

    def __init__(self, other: Counter[str]) -> None:
        """Count everything that is not a note in `other`."""
        self._other = other
        self._waiting: list[str] = []
        self.symbols: dict[str, str] = dict(_SYMBOLS)
        """Decoration or text by its user-defined letter (`U:`)."""

    def read(self, line: str, voice: Voice, change: FieldHandler) -> Voice:
        """Read a line and return its last voice.

        Raises:
            InvalidScoreError: something in the line does not end, or is not music.
        """
        place = 0
        while place < len(line):
            match = _TOKEN.match(line, place)
            if match is None:
                if line[place] in _OPEN:
                    raise InvalidScoreError(f"{_OPEN[line[place]]} without an end")
                self._other["unread_signs"] += line[place] not in "!+]}:"
                place += 1
                continue
            place = match.end()
            found = {name: text for name, text in match.groupdict().items() if text is not None}
            if "field" in found:
                voice = change(found["field"], found["value"].strip())
            else:
                self._take(found, voice)
        return voice

    def _take(self, found: Mapping[str, str], voice: Voice) -> None:
        if "bar" in found:
            self._bar_line(found["bar"], found.get("pass"), voice)
        elif "ending" in found:
            _begin_ending(voice, found["ending"])
        elif "note" in found:
            self._add_notes([_parse_note(found["note"])], Fraction(1), bool(found["tie"]), voice)
        elif "chord" in found:
            self._chord(found, voice)
        elif "rest" in found:
            self._mark(voice)
            voice.rest(_length(found["rest_length"]))
        elif "bars" in found:
            self._mark(voice)
            voice.rest_bars(int(found["bar_count"][:6] or 1))
        elif "grace" in found:
            graces = len(_GRACE_NOTE.findall(found["grace"]))
            voice.bar.note_heads += graces
            voice.grace(graces)
        elif "p" in found:
            numbers = (int(found[name][:6]) if found.get(name) else None for name in ("p", "q", "r"))
            notes, time_of, count = numbers
            voice.begin_tuplet(notes or 0, time_of, count)
        elif "broken" in found:
            voice.break_rhythm(found["broken"])
        elif "dash" in found:
            voice.tie()
        elif "overlay" in found:
            if found["overlay"] != "&":
                raise InvalidScoreError("an overlay over several bars")
            voice.overlay()
        elif "text" in found:
            self._text(found["text"])
        elif "decoration" in found:
            self._decoration(found["decoration"], found["quote"], voice)
        elif "symbol" in found:
            self._decorate(self.symbols.get(found["symbol"], ""))

    def _add_notes(self, notes: list[AbcNote], factor: Fraction, tied: bool, voice: Voice) -> None:
        self._mark(voice)
        voice.bar.note_heads += len(notes)
        voice.add_notes(notes, factor, tied)

    def _chord(self, found: Mapping[str, str], voice: Voice) -> None:
        notes, place, text = [], 0, found["chord"]
        while place < len(text):
            match = _CHORD_NOTE.match(text, place)
            if match is None:
                raise InvalidScoreError(f"[{text}] is not a valid chord")
            if match["note"]:
                notes.append(_parse_note(match["note"], tied=bool(match["tie"])))
            elif match[0].startswith('"'):
                self._text(match[0].strip('"'))
            place = match.end()
        if notes:
            self._add_notes(notes, _length(found["chord_length"]), bool(found["chord_tie"]), voice)

    def _text(self, text: str) -> None:
        word = re.sub(r"[\s.]", "", text.lstrip(_PLACEMENT)).lower()
        if word in _WORDS:
            self._waiting.append(_WORDS[word])
        elif _CHORD_SYMBOL.match(text):
            self._other["chord_symbols"] += 1

    def _decoration(self, text: str, quote: str, voice: Voice) -> None:
        if _DYNAMICS.match(text):
            self._other["dynamics"] += 1
        elif quote == "+" and _OLD_CHORD.match(text):  # the chords of ABC 1: +CEG+
            self._add_notes([_parse_note(note) for note in _GRACE_NOTE.findall(text)], Fraction(1), False, voice)
        else:
            self._decorate(text)

    def _decorate(self, text: str) -> None:
        word = re.sub(r"[\s.!+\"]", "", text.lstrip(_PLACEMENT)).lower()
        if word in _WORDS:
            self._waiting.append(_WORDS[word])

    def _mark(self, voice: Voice) -> None:
        """Add the signs before a note to the bar."""
        for word in self._waiting:
            _set(voice.bar.marks, word)
        self._waiting.clear()

    def _bar_line(self, signs: str, passes: str | None, voice: Voice) -> None:
        ended = voice.previous_marks
        later = [word for word in self._waiting if word == "segno"]
        for word in self._waiting:
            if word != "segno":
                _set(ended, word)
        self._waiting.clear()
        colons = signs.strip("[]|")
        if set(signs) == {":"}:
            before = after = len(colons) // 2
        else:
            before = len(signs) - len(signs.lstrip(":"))
            after = len(signs) - len(signs.rstrip(":"))
        if before:
            ended.plays = max(ended.plays, before + 1)
        ended.double |= len(signs) > 1
        voice.end_bar()
        for word in later:
            _set(voice.bar.marks, word)
        if after:
            voice.bar.marks.repeat_start = True
        if passes:
            _begin_ending(voice, passes)


def _set(marks: Marks, word: str) -> None:
    match word:
        case "segno":
            marks.segno = True
        case "coda":
            marks.coda = True
        case "fine":
            marks.fine = True
        case _:
            marks.jump = word


def _begin_ending(voice: Voice, text: str) -> None:
    """Begin an ending such as `1`, `1,3` or `1-3`."""
    passes: set[int] = set()
    for part in re.split(r"[,.\s]+", text.strip(" ,.-")):
        first, _, last = part.partition("-")
        low = int(first[:4] or 0)
        high = int(last[:4]) if last[:4].isdecimal() else low
        if not 1 <= low <= high <= _MAX_PASSES:
            raise InvalidScoreError(f"[{text.strip()} is not a valid ending; the maximum is {_MAX_PASSES}")
        passes.update(range(low, high + 1))
    voice.begin_ending(passes)


def _parse_note(text: str, *, tied: bool = False) -> AbcNote:
    match = _NOTE_PARTS.match(text)
    assert match is not None
    sign, fraction, letter, marks, length = match.groups()
    alteration = None if sign is None else _ALTERATION[sign]
    if fraction and alteration:  # a microtone: `^/` is a quarter tone, `^3/2` is three; the nearest semitone down
        alteration = int(alteration * _length(fraction))
    octave = letter.islower() + marks.count("'") - marks.count(",")
    return AbcNote(letter.upper(), octave, alteration, _length(length), tied)


def _length(text: str) -> Fraction:
    """Read a length such as `3`, `/`, `//` or `3/2`, in units."""
    match = _LENGTH_PARTS.match(text)
    assert match is not None
    whole, slashes, below = match.groups()
    numerator, denominator = int(whole[:6] or 1), int(below[:6] or 2 ** min(len(slashes), 12))
    if not denominator:
        raise InvalidScoreError(f"{text} is not a valid length")
    return Fraction(numerator, denominator if slashes else 1)
