"""Simplifies MEI trees: elements that music21 ignores are rewritten, and silent notes become spaces."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Final
from xml.etree.ElementTree import Element

_TRANSPARENT: Final = frozenset(
    ("ending", "supplied", "add", "corr", "reg", "orig", "sic", "unclear", "damage", "restore", "subst", "lem", "rdg",
     "app", "choice", "bTrem", "fTrem", "ossia", "expan", "abbr")
)  # fmt: skip
"""Elements that are replaced by their content."""
_ONE_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "app": ("lem", "rdg"),
    "choice": ("corr", "reg", "expan", "sic", "orig", "abbr", "unclear"),
}
"""Alternative readings; the first kind listed here that is present is used."""
_ABSENT: Final = frozenset(("del", "oStaff", "oLayer"))
_NUMBERS: Final = re.compile(r"\d{1,3}")


class MeiScore:
    """A score element, simplified in place."""

    def __init__(self, score: Element) -> None:
        self.heads = sum(1 for _ in score.iter("note"))
        """Number of note heads in the source, all readings included."""
        self.silent: Counter[str] = Counter()
        """Note heads that do not sound, by reason."""
        self.endings: list[tuple[int, frozenset[int]]] = []
        """Index of the ending bracket and its numbers for every measure; -1 without one."""
        self._percussion = {
            definition.get("n")
            for definition in score.iter("staffDef")
            if "perc" in (definition.get("clef.shape"), *(clef.get("shape") for clef in definition.iter("clef")))
        }
        self._read_endings(score)
        self._expand(score)
        self._define(score)
        for staff in list(score.iter("staff")):
            self._silence(staff)

    def _read_endings(self, score: Element) -> None:
        brackets = list(score.iter("ending"))
        bracket_of = {id(measure): index for index, one in enumerate(brackets) for measure in one.iter("measure")}
        for measure in score.iter("measure"):
            index = bracket_of.get(id(measure), -1)
            numbers = _NUMBERS.findall(brackets[index].get("n", "")) if index >= 0 else ()
            self.endings.append((index, frozenset(map(int, numbers)) - {0}))

    def _expand(self, element: Element) -> None:
        """Replace wrappers by their content and drop alternative readings."""
        children: list[Element] = []
        for child in list(element):
            if child.tag in _ABSENT:
                self._leave_out(child, "other_readings")
                continue
            if child.tag in _ONE_OF:
                self._choose(child)
            self._expand(child)
            if child.tag == "fTrem":  # each of the two is written with the time that both take
                for event in child.iter():
                    if event.tag in ("note", "chord") and (duration := event.get("dur", "")).isdigit():
                        event.set("dur", str(2 * int(duration)))
            children += list(child) if child.tag in _TRANSPARENT else [child]
        element[:] = children

    def _choose(self, element: Element) -> None:
        kinds = _ONE_OF[element.tag]
        chosen = next((child for kind in kinds for child in element if child.tag == kind), None)
        for child in list(element):
            if child is not chosen:
                self._leave_out(child, "other_readings")
                element.remove(child)

    def _leave_out(self, element: Element, reason: str) -> None:
        if heads := sum(1 for _ in element.iter("note")):
            self.silent[reason] += heads

    @staticmethod
    def _define(score: Element) -> None:
        """Write key and meter as the attributes that music21 reads."""
        for definition in score.iter():
            if definition.tag not in ("scoreDef", "staffDef"):
                continue
            signature = definition.find("keySig")
            key = definition.get("keysig") or (signature.get("sig") if signature is not None else None)
            if key is not None:
                definition.set("key.sig", key)
            meter = definition.find("meterSig")
            if meter is not None and meter.get("count") and meter.get("unit"):
                definition.set("meter.count", meter.get("count", ""))
                definition.set("meter.unit", meter.get("unit", ""))

    def _silence(self, staff: Element) -> None:
        """Replace notes that are silent or unpitched by spaces; music21 would read them as ordinary notes."""
        percussion = staff.get("n") in self._percussion
        for chord in staff.iter("chord"):
            notes = chord.findall("note")
            reasons = [self._reason(note, percussion=percussion) for note in (chord, *notes)]
            reason = next((reason for reason in reasons if reason is not None), None)
            if notes and reason is not None:
                self._leave_out(chord, reason)
                chord.tag, chord[:] = "space", []
        for note in staff.iter("note"):
            reason = self._reason(note, percussion=percussion)
            if reason is not None:
                self.silent[reason] += 1
                note.tag, note[:] = "space", []
            elif (octave := note.get("oct.ges")) is not None:  # as it sounds
                note.set("oct", octave)

    @staticmethod
    def _reason(event: Element, *, percussion: bool) -> str | None:
        if event.get("cue") == "true":
            return "cue"
        if percussion or (event.tag == "note" and not (event.get("pname") and event.get("oct"))):
            return "percussion"
        return None
