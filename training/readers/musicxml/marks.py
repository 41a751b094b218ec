"""Repeats, endings and jumps of a MusicXML score."""

import re
from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element

from training.readers.play_order import MAX_PLAYED_BARS, BarMarks

_LABEL: Final = ""
_DA_CAPO: Final = re.compile(r"\bd\.? ?c\.|\bda capo\b|^d\.? ?c\.?$", re.IGNORECASE)
_DAL_SEGNO: Final = re.compile(r"\bd\.? ?s\.|\bdal segno\b|^d\.? ?s\.?$", re.IGNORECASE)
_TO_CODA: Final = re.compile(r"\bto coda\b", re.IGNORECASE)
_FINE: Final = re.compile(r"^\s*fine\s*\.?\s*$", re.IGNORECASE)
_NUMBERS: Final = re.compile(r"(\d{1,3})(?:\s*-\s*(\d{1,3}))?")
_JUMP_ATTRIBUTES: Final = ("segno", "coda", "tocoda", "dalsegno", "dacapo", "fine")


def bar_marks(parts: Sequence[Element], count: int) -> list[BarMarks]:
    """The marks of each bar, from all parts.

    Jumps come from `sound` elements. In a score without such elements they come from the printed signs.
    """
    marks = [BarMarks() for _ in range(count)]
    for part in parts:
        measures = part.findall("measure")
        _read_repeats(measures, marks)
    if not any(sound.get(name) for part in parts for sound in part.iter("sound") for name in _JUMP_ATTRIBUTES):
        _read_printed_jumps(parts, marks)
    return marks


def _read_repeats(measures: Sequence[Element], marks: list[BarMarks]) -> None:
    bracket: frozenset[int] = frozenset()
    for measure, mark in zip(measures, marks, strict=False):
        closed = False
        for barline in measure.iterfind("barline"):
            repeat, ending = barline.find("repeat"), barline.find("ending")
            if repeat is not None and repeat.get("direction") == "forward":
                mark.repeat_start = True
            if repeat is not None and repeat.get("direction") == "backward":
                mark.repeat_times = max(mark.repeat_times, _times(repeat.get("times")))
            if ending is not None and ending.get("type") == "start":
                bracket = _numbers(ending.get("number", ""))
                mark.ending_start = bool(bracket)
            if ending is not None and ending.get("type") in ("stop", "discontinue"):
                closed = True
        mark.endings |= bracket
        if closed or mark.repeat_times:  # a bracket ends with its repeat, whether it says so or not
            bracket = frozenset()
        for sound in measure.iter("sound"):
            _read_sound(sound, mark)


def _times(text: str | None) -> int:
    text = (text or "").strip()
    return min(int(text), MAX_PLAYED_BARS) if text.isascii() and text.isdigit() and len(text) < 10 else 2


def _numbers(text: str) -> frozenset[int]:
    found: set[int] = set()
    for first, last in _NUMBERS.findall(text):
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found - {0})


def _read_sound(sound: Element, mark: BarMarks) -> None:
    mark.segno = sound.get("segno", mark.segno)
    mark.coda = sound.get("coda", mark.coda)
    mark.to_coda = sound.get("tocoda", mark.to_coda)
    mark.dal_segno = sound.get("dalsegno", mark.dal_segno)
    mark.da_capo |= sound.get("dacapo") == "yes"
    mark.fine |= bool(sound.get("fine"))
    mark.repeat_start |= sound.get("forward-repeat") == "yes"


def _read_printed_jumps(parts: Sequence[Element], marks: list[BarMarks]) -> None:
    codas: set[int] = set()
    for part in parts:
        for index, measure in enumerate(part.iterfind("measure")):
            mark = marks[index]
            if measure.find(".//segno") is not None:
                mark.segno = _LABEL
            if measure.find(".//coda") is not None:
                codas.add(index)
            for words in measure.iterfind("direction/direction-type/words"):
                text = " ".join("".join(words.itertext()).split())
                mark.da_capo |= bool(_DA_CAPO.search(text))
                mark.fine |= bool(_FINE.match(text))
                if _DAL_SEGNO.search(text):
                    mark.dal_segno = _LABEL
                if _TO_CODA.search(text):
                    mark.to_coda = _LABEL
    if codas:
        marks[max(codas)].coda = _LABEL
        for index in codas - {max(codas)}:  # the sign stands at both ends of the jump
            marks[index].to_coda = _LABEL
