"""The notes of one MusicXML part, measure by measure."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from typing import Final
from xml.etree.ElementTree import Element

from music.errors import InvalidScoreError
from music.score import DEFAULT_VELOCITY
from training.readers.musicxml.attributes import Attributes, MidiInstruments, number
from training.readers.musicxml.bars import BarExtent
from training.readers.musicxml.directions import tempo_bpm, velocity_of, velocity_of_mark
from training.readers.written import WrittenBar, WrittenNote, limit_denominator

_STEPS: Final = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_TYPES: Final[Mapping[str, int | Fraction]] = {
    "maxima": 32, "long": 16, "breve": 8, "whole": 4, "half": 2, "quarter": 1, "eighth": Fraction(1, 2),
    "16th": Fraction(1, 4), "32nd": Fraction(1, 8), "64th": Fraction(1, 16), "128th": Fraction(1, 32),
    "256th": Fraction(1, 64),
}  # fmt: skip


class PartReader:
    """Reads the measures of one part in turn."""

    def __init__(self, identity: str, instruments: MidiInstruments) -> None:
        self.bars: list[WrittenBar] = []
        self.extents: list[BarExtent] = []
        """Extent of each bar's elements."""
        self.tempos: list[tuple[int, Fraction, float]] = []
        """Bar, quarters from its start, quarter notes per minute."""
        self.changed: Counter[str] = Counter()
        self.other: Counter[str] = Counter()
        self.attributes = Attributes()
        self.program = instruments.program
        self._identity = identity
        self._instruments = instruments
        self._time = self._chord_time = Fraction()
        self._dynamics: dict[str | None, list[tuple[int, Fraction, int]]] = {}
        self._own_velocity: set[tuple[int, int]] = set()

    def read(self, measure: Element) -> None:
        """Read the next measure.

        Raises:
            InvalidScoreError: an element that decides the timing is damaged.
        """
        bar = WrittenBar(note_heads=sum(note.find("rest") is None for note in measure.iterfind("note")))
        self.bars.append(bar)
        self._time = self._chord_time = Fraction()
        extent = BarExtent(implicit=measure.get("implicit") == "yes")
        self.extents.append(extent)
        for element in measure:
            try:
                self._read(element, bar)
            except (ValueError, OverflowError, ZeroDivisionError) as error:
                raise InvalidScoreError(self._damaged(measure, f"<{element.tag}> holds an invalid number")) from error
            except InvalidScoreError as error:
                raise InvalidScoreError(self._damaged(measure, str(error))) from error
            if element.tag == "forward":
                extent.gaps = max(extent.gaps, self._time)
            elif element.tag == "note" and element.find("rest") is not None:
                extent.rests = max(extent.rests, self._time)
            elif element.tag == "note":
                extent.notes = max(extent.notes, self._time)
        extent.full = self.attributes.full_bar

    def finish(self) -> None:
        """Set every note's velocity from the latest dynamics of its staff or part."""
        for events in self._dynamics.values():
            events.sort(key=lambda event: event[:2])
        for index, bar in enumerate(self.bars):
            for place, note in enumerate(bar.notes):
                if (index, place) not in self._own_velocity:
                    bar.notes[place] = note._replace(velocity=self._velocity_at(index, note))

    def pad(self, count: int) -> None:
        """Pad with empty bars to the length of other parts."""
        self.bars += [WrittenBar() for _ in range(count - len(self.bars))]

    def _damaged(self, measure: Element, what: str) -> str:
        return f"measure {measure.get('number', len(self.bars))} of part {self._identity}: {what}"

    def _read(self, element: Element, bar: WrittenBar) -> None:
        match element.tag:
            case "note":
                self._read_note(element, bar)
            case "backup":  # rounded divisions may lead before the bar's start
                self._time = max(limit_denominator(self._time - self._duration(element)), Fraction())
            case "forward":
                self._time = limit_denominator(self._time + self._duration(element))
            case "attributes":
                self.attributes.read(element)
            case "direction" | "sound":  # decides no time
                try:
                    self._read_direction(element)
                except ValueError:
                    self.other["unreadable_directions"] += 1

    def _duration(self, element: Element) -> Fraction:
        duration = number(element.findtext("duration")) / self.attributes.divisions
        if duration < 0:
            raise InvalidScoreError("a duration is negative")
        return duration

    def _read_note(self, element: Element, bar: WrittenBar) -> None:
        grace = element.find("grace") is not None
        duration = Fraction() if grace else self._note_duration(element)
        if element.find("chord") is None:
            self._chord_time = self._time
            self._time = limit_denominator(self._time + duration)
        if (rest := element.find("rest")) is not None:
            full = self.attributes.full_bar
            if rest.get("measure") == "yes" and full is not None and duration > full:
                self._time = self._chord_time + full  # written as a whole note in any meter
            return
        reason = self._reason_to_leave_out(element, grace=grace, duration=duration)
        if reason is not None:
            bar.left_out[reason] += 1
            return
        staff = (element.findtext("staff") or "1").strip()
        pitch = self._pitch(element, staff)
        if pitch is None:
            bar.left_out["unreadable"] += 1
            return
        ties = {tie.get("type") for tie in (*element.iterfind("tie"), *element.iterfind("notations/tied"))}
        note = WrittenNote(
            self._chord_time,
            duration,
            pitch,
            int(staff) - 1 if staff.isdigit() and len(staff) < 4 else 0,
            ends_tie="stop" in ties or "continue" in ties,
            starts_tie="start" in ties or "continue" in ties,
        )
        self.other["time_only"] += "time-only" in element.attrib
        if (loudness := element.get("dynamics")) is not None:
            note = note._replace(velocity=velocity_of(number(loudness)))
            self._own_velocity.add((len(self.bars) - 1, len(bar.notes)))
        bar.notes.append(note)

    def _note_duration(self, element: Element) -> Fraction:
        try:
            return self._duration(element)
        except (ValueError, InvalidScoreError):  # missing or damaged: the note's look says the same
            pass
        quarters = Fraction(_TYPES.get((element.findtext("type") or "").strip(), 0))
        quarters *= 2 - Fraction(1, 2 ** min(len(element.findall("dot")), 8))
        for times in element.iterfind("time-modification"):
            with suppress(ValueError, ZeroDivisionError):
                quarters *= abs(number(times.findtext("normal-notes")) / number(times.findtext("actual-notes")))
        return quarters

    def _reason_to_leave_out(self, element: Element, *, grace: bool, duration: Fraction) -> str | None:
        if grace:
            return "grace"
        if element.find("cue") is not None:
            return "cue"
        instrument = element.find("instrument")
        identity = self._instruments.first if instrument is None else instrument.get("id")
        if element.find("unpitched") is not None or identity in self._instruments.percussion:
            return "percussion"
        if duration == 0:
            return "no_duration"
        return None

    def _pitch(self, element: Element, staff: str) -> int | None:
        pitch = element.find("pitch")
        step = _STEPS.get((element.findtext("pitch/step") or "").strip().upper())
        if pitch is None or step is None:
            return None
        try:
            alter, octave = number(pitch.findtext("alter") or "0"), number(pitch.findtext("octave"))
        except ValueError:
            return None
        if alter.denominator != 1:
            self.changed["microtones"] += 1
        return round(12 * (octave + 1) + step + alter) + self.attributes.semitones(staff)

    def _read_direction(self, element: Element) -> None:
        sounds = [element] if element.tag == "sound" else element.findall("sound")
        time = self._time
        for offset in element.iterfind("offset"):
            if element.tag == "sound" or offset.get("sound") == "yes":
                time += number(offset.text) / self.attributes.divisions
        place = len(self.bars) - 1, max(time, Fraction())
        bpm = tempo_bpm(element, sounds)
        if bpm is not None:
            self.tempos.append((*place, bpm))
        velocity = None
        for sound in sounds:
            if (loudness := sound.get("dynamics")) is not None:
                velocity = velocity_of(number(loudness))
        if velocity is None:
            marks = [velocity_of_mark(mark.tag) for mark in element.iterfind("direction-type/dynamics/*")]
            velocity = next((mark for mark in marks if mark is not None), None)
        if velocity is not None:
            self._dynamics.setdefault(element.findtext("staff"), []).append((*place, velocity))

    def _velocity_at(self, bar: int, note: WrittenNote) -> int:
        found = []
        for staff in (None, str(note.staff + 1)):
            events = self._dynamics.get(staff, [])
            place = bisect_right(events, (bar, note.offset), key=lambda event: event[:2])
            found += events[place - 1 : place]
        return max(found, key=lambda event: event[:2])[2] if found else DEFAULT_VELOCITY
