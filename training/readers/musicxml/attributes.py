"""State of a MusicXML part (divisions, meter, key, transposition) and its header."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Final
from xml.etree.ElementTree import Element

from music.errors import InvalidScoreError

_PERCUSSION_CHANNEL: Final = "10"
_MAX_DENOMINATOR: Final = 10**6


def number(text: str | None) -> Fraction:
    """Parse a MusicXML number.

    Raises:
        ValueError: the text is not a number, or the number is 10^9 or more.
    """
    text = (text or "").strip()
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return Fraction(int(text))
    value = float(text)
    if not math.isfinite(value) or abs(value) >= 10**9:
        raise ValueError(text[:40])
    return Fraction(value).limit_denominator(_MAX_DENOMINATOR)


@dataclass(frozen=True, slots=True)
class MidiInstruments:
    """The instruments in a part's header."""

    percussion: frozenset[str] = frozenset()
    """Instruments on the percussion channel or with a percussion key."""
    first: str | None = None
    """The instrument of notes without an instrument."""
    program: int | None = None
    """First pitched General MIDI program, from 0."""


def midi_instruments(header: Element | None) -> MidiInstruments:
    """Read a `score-part` element. `header` is None if the part list does not name the part."""
    if header is None:
        return MidiInstruments()
    instruments = header.findall("midi-instrument")
    percussion = {
        instrument.get("id", "")
        for instrument in instruments
        if instrument.find("midi-unpitched") is not None
        or (instrument.findtext("midi-channel") or "").strip() == _PERCUSSION_CHANNEL
    }
    program = None
    for instrument in instruments:
        text = (instrument.findtext("midi-program") or "").strip()
        if program is None and instrument.get("id", "") not in percussion and text.isdigit() and 1 <= int(text) <= 128:
            program = int(text) - 1
    first = header.find("score-instrument")
    if first is None:
        first = header.find("midi-instrument")
    return MidiInstruments(frozenset(percussion), None if first is None else first.get("id"), program)


class Attributes:
    """Reads `attributes` elements and keeps the current values."""

    def __init__(self) -> None:
        self.divisions = Fraction(1)
        self.full_bar: Fraction | None = None
        """Quarters of a bar in the current meter; None without one."""
        self.meters: list[tuple[int, int]] = []
        """All meters; (0, 0) for no meter."""
        self.keys: list[int | None] = []
        """All key signatures in sharps, at sounding pitch."""
        self._fifths: int | None = None
        self._transpositions: dict[str | None, tuple[int, int]] = {}

    def semitones(self, staff: str) -> int:
        """Semitones from written to sounding pitch."""
        return self._transposition(staff)[0]

    def read(self, attributes: Element) -> None:
        """Apply an `attributes` element.

        Raises:
            ValueError: a number in it is invalid.
            InvalidScoreError: divisions are not positive.
        """
        if (divisions := attributes.findtext("divisions")) is not None:
            self.divisions = number(divisions)
            if self.divisions <= 0:
                raise InvalidScoreError("divisions must be more than 0")
        for transpose in attributes.iterfind("transpose"):
            chromatic = number(transpose.findtext("chromatic") or "0")
            octaves = number(transpose.findtext("octave-change") or "0")
            diatonic = number(transpose.findtext("diatonic") or str(round(chromatic * 7 / 12)))
            transposition = round(chromatic + 12 * octaves), round(7 * chromatic - 12 * diatonic)
            self._transpositions[transpose.get("number")] = transposition
        if (key := attributes.find("key")) is not None:
            fifths = key.findtext("fifths")
            self._fifths = None if fifths is None else round(number(fifths))
        self._keep_key()
        if (time := attributes.find("time")) is not None:
            self._read_time(time)

    def _transposition(self, staff: str) -> tuple[int, int]:
        """Semitones, and the sharps that they add to a key signature."""
        return self._transpositions.get(staff) or self._transpositions.get(None) or (0, 0)

    def _keep_key(self) -> None:
        if self._fifths is None:
            return
        sharps = self._fifths + self._transposition("1")[1]
        if abs(sharps) > 7:  # enharmonic
            sharps = (sharps + 6) % 12 - 6
        self.keys.append(sharps)

    def _read_time(self, time: Element) -> None:
        meter = (0, 0)
        self.full_bar = None
        if time.find("senza-misura") is None:
            beats = [sum(number(one) for one in (e.text or "").split("+")) for e in time.iterfind("beats")]
            types = [number(e.text) for e in time.iterfind("beat-type")]
            if beats and len(beats) == len(types) and all(b > 0 for b in beats) and all(t > 0 for t in types):
                self.full_bar = sum((4 * b / t for b, t in zip(beats, types, strict=True)), Fraction())
                unit = max(types)
                whole = self.full_bar * unit / 4
                if whole.denominator == unit.denominator == 1:
                    meter = (int(whole), int(unit))
        self.meters.append(meter)
