"""Tempo and loudness in MusicXML."""

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Final
from xml.etree.ElementTree import Element

from training.readers.musicxml.attributes import number

_FORTE_VELOCITY: Final = 90
"""MusicXML states loudness in percent of a MIDI velocity of 90."""
_TEMPO_RANGE: Final = (10, 400)
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?")
_BEAT_UNITS: Final[Mapping[str, int | Fraction]] = {
    "breve": 8, "whole": 4, "half": 2, "quarter": 1, "eighth": Fraction(1, 2), "16th": Fraction(1, 4),
    "32nd": Fraction(1, 8),
}  # fmt: skip
_MARKS: Final = {
    "pppppp": 4, "ppppp": 6, "pppp": 10, "ppp": 16, "pp": 33, "p": 49, "mp": 64, "mf": 80, "f": 96, "ff": 112,
    "fff": 126, "ffff": 127, "fffff": 127, "ffffff": 127,
}  # fmt: skip


def velocity_of(loudness: Fraction) -> int:
    """MIDI velocity of a loudness in percent of forte."""
    return min(max(round(loudness * _FORTE_VELOCITY / 100), 1), 127)


def velocity_of_mark(mark: str) -> int | None:
    """MIDI velocity of a sign such as `mf`; None for signs of a single note, such as `sfz`."""
    return _MARKS.get(mark)


def tempo_bpm(direction: Element, sounds: Sequence[Element]) -> float | None:
    """Tempo of a direction in quarter notes per minute, from `sound` or else from the printed mark.

    None if there is not a valid tempo, or if it is outside 10 to 400.
    """
    found: Fraction | None = None
    for sound in sounds:
        if (text := sound.get("tempo")) is not None:
            found = number(text)
    if found is None:
        for metronome in direction.iterfind("direction-type/metronome"):
            found = _printed_tempo(metronome) or found
    if found is None or not _TEMPO_RANGE[0] <= found <= _TEMPO_RANGE[1]:
        return None
    return 60 / (60 / float(found))  # by way of seconds, as music21 does: corpora keep the same bits


def _printed_tempo(metronome: Element) -> Fraction | None:
    unit = _BEAT_UNITS.get((metronome.findtext("beat-unit") or "").strip())
    beats = _NUMBER.search(metronome.findtext("per-minute") or "")  # such as `ca. 120`
    if unit is None or beats is None:
        return None
    dots = sum(child.tag == "beat-unit-dot" for child in metronome)
    return number(beats.group()) * unit * (2 - Fraction(1, 2 ** min(dots, 8)))
