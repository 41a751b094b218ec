"""Reads one piece of **kern spines."""

from collections import Counter
from fractions import Fraction
from typing import Any, Final

from music.errors import InvalidScoreError
from training.readers.humdrum.graces import Grace, GraceNotes
from training.readers.humdrum.spines import Line, Spine, spine_lines
from training.readers.humdrum.tokens import (
    is_note_head,
    parse_bar_line,
    parse_key,
    parse_meter,
    parse_note,
    parse_tempo,
)
from training.readers.play_order import MAX_PLAYED_BARS, BarMarks
from training.readers.written import (
    Signatures,
    WrittenBar,
    WrittenNote,
    WrittenPart,
    WrittenScore,
    limit_denominator,
    require_size,
)

_KERN: Final = "**kern"
_COUNTED_SPINES: Final = {
    "**dynam": "dynamics", "**text": "lyrics", "**silbe": "lyrics", "**mxhm": "chord_symbols",
    "**harm": "chord_symbols", "**fb": "figured_bass",
}  # fmt: skip
_PROGRAMS: Final = {
    "*Ipiano": 0, "*Iforte": 0, "*Icemba": 6, "*Iorgan": 19, "*Iguitr": 24, "*Ivioln": 40, "*Iviola": 41,
    "*Icello": 42, "*Icbass": 43, "*Iharp": 46, "*Itromp": 56, "*Itromb": 57, "*Ituba": 58, "*Icor": 60,
    "*Ioboe": 68, "*Ifagot": 70, "*Iclars": 71, "*Iflt": 73,
    **dict.fromkeys(("*Icant", "*Isoprn", "*Imezzo", "*Ialto", "*Icalto", "*Itenor", "*Ibarit", "*Ibass", "*Ivox"), 52),
}  # fmt: skip
"""General MIDI programs of the most common instrument codes."""


class PieceReader:
    """Reads the lines of one piece."""

    def __init__(self, *, play_graces: bool = False) -> None:
        self._graces = GraceNotes() if play_graces else None
        self._signatures = {0: Signatures()}
        self._time = self._start = Fraction()
        self._starts = [Fraction()]
        self._marks = [BarMarks()]
        self._parts: dict[int, WrittenPart] = {}
        self._percussion: set[int] = set()
        self._tempos: list[float] = []
        self._labels: dict[str, int] = {}
        self._expansion: list[str] | None = None
        self._other: Counter[str] = Counter()

    def read(self, numbered: list[tuple[int, str]]) -> WrittenScore:
        """Read a piece.

        Raises:
            InvalidScoreError: its spines do not fit its lines, or none is **kern.
        """
        kinds = numbered[0][1].split("\t")
        end = Fraction()
        for line in spine_lines(numbered):
            first = line.fields[0]
            if first.startswith("="):
                self._read_bar_line(next((t for t in line.fields if t.startswith("=") and ":" in t), first))
            elif first.startswith("*"):
                for cell, spine in zip(line.fields, line.spines, strict=True):
                    self._read_interpretation(cell, spine)
            else:
                self._read_data(line)
            end = max([end, *(spine.next_time for spine in line.spines)])
        if not self._parts:
            if _KERN in kinds:
                raise InvalidScoreError("no pitched note in it")
            raise InvalidScoreError(f"no **kern spine in it, but {', '.join(dict.fromkeys(kinds))[:80]}")
        require_size(len(self._parts), len(self._starts))
        if self._graces is not None:
            self._graces.place(self._parts, self._starts)
        for part in self._parts.values():
            part.bars += [WrittenBar() for _ in range(len(self._starts) - len(part.bars))]
        empty = all(not part.bars[-1].note_heads for part in self._parts.values())
        if len(self._starts) > 1 and self._starts[-1] >= end and empty:  # the last bar line closes the piece
            self._starts.pop()
            self._marks.pop()
            for part in self._parts.values():
                part.bars.pop()
        ends = [*self._starts[1:], max(end, self._starts[-1])]
        return WrittenScore(
            parts=[part for _, part in sorted(self._parts.items(), reverse=True)],  # the lowest is on the left
            lengths=[after - start for start, after in zip(self._starts, ends, strict=True)],
            marks=self._marks,
            tempos=self._tempos,
            other=self._other,
            order=self._stated_order(),
            signatures=self._signatures_of_bars(),
        )

    def _part(self, spine: Spine) -> WrittenPart:
        return self._parts.setdefault(spine.column, WrittenPart("", []))

    def _bar(self, spine: Spine) -> WrittenBar:
        bars = self._part(spine).bars
        bars += [WrittenBar() for _ in range(len(self._starts) - len(bars))]
        return bars[-1]

    def _begin_bar(self) -> None:
        if self._time > self._starts[-1]:
            self._starts.append(self._time)
            self._marks.append(BarMarks())

    def _read_bar_line(self, cell: str) -> None:
        line = parse_bar_line(cell)
        if self._time > self._starts[-1] and line.ends_repeat:
            self._marks[-1].repeat_times = 2
        self._begin_bar()
        if line.starts_repeat:
            self._marks[-1].repeat_start = True

    def _read_interpretation(self, cell: str, spine: Spine) -> None:
        if cell.startswith("*>"):
            self._read_label(cell[2:])
        if (bpm := parse_tempo(cell)) is not None:
            self._tempos.append(bpm)
            self._change_signatures(tempo_bpm=bpm)
        if spine.kind != _KERN:
            return
        part = self._part(spine)
        if (meter := parse_meter(cell)) is not None:
            part.meters.append(meter)
            self._change_signatures(meter=meter if meter[0] else None)
        elif (key := parse_key(cell)) is not None:
            part.keys.append(key)
            self._change_signatures(key_sharps=key)
        elif cell.startswith('*I"'):
            part.name = part.name or cell[3:].strip()
        elif cell in _PROGRAMS and part.program is None:
            part.program = _PROGRAMS[cell]
        elif cell.startswith("*clefX"):
            self._percussion.add(spine.column)
        elif cell.startswith("*clef"):
            self._percussion.discard(spine.column)

    def _read_label(self, label: str) -> None:
        if label.startswith("["):
            if self._expansion is None:
                self._expansion = [name.strip() for name in label.strip("[]").split(",") if name.strip()]
        elif "[" not in label and label not in self._labels:  # other versions, such as `norep[A,B]`, are not played
            self._begin_bar()
            self._labels[label] = len(self._starts) - 1

    def _read_data(self, line: Line) -> None:
        passes = False
        for cell, spine in zip(line.fields, line.spines, strict=True):
            if spine.kind == _KERN:
                self._part(spine)
                passes |= self._read_token(cell, spine, line.number)
            elif cell != "." and spine.kind in _COUNTED_SPINES:
                self._other[_COUNTED_SPINES[spine.kind]] += 1
        if passes:  # a line of grace notes or dynamics alone takes no time
            later = [s.next_time for s in line.spines if s.kind == _KERN and s.next_time > self._time]
            self._time = min(later, default=self._time)

    def _read_token(self, cell: str, spine: Spine, line: int) -> bool:
        """Read the notes that start in a spine at a line; returns whether a duration is given."""
        if cell == ".":
            return False
        bar, passes = self._bar(spine), False
        graces: list[Grace] = []
        if spine.next_time > self._time and any(not parse_note(one).grace for one in cell.split()):
            self._other["rhythm_errors"] += 1
        duration = Fraction()  # of the first note, which decides when the next one starts
        for one in cell.split():
            bar.note_heads += is_note_head(one)
            note = parse_note(one)
            if not note.grace and note.duration and not duration:
                duration, passes = note.duration, True
                spine.next_time = limit_denominator(self._time + duration)
            if note.rest or not is_note_head(one):
                continue
            if note.grace and note.pitch is not None and self._graces is not None:
                graces.append(Grace(note.pitch, note.ends_tie, note.starts_tie))
            elif note.grace:
                bar.left_out["grace"] += 1
            elif note.unpitched or spine.column in self._percussion:
                bar.left_out["percussion"] += 1
            elif note.pitch is None:
                bar.left_out["unreadable"] += 1
            elif not (note.duration or duration):
                bar.left_out["no_duration"] += 1
            else:
                offset, lasts = self._time - self._starts[-1], note.duration or duration
                bar.notes.append(WrittenNote(offset, lasts, note.pitch, 0, note.ends_tie, note.starts_tie))
        if self._graces is not None and passes:
            self._graces.strike(spine.column, self._time)
        if self._graces is not None and graces:
            self._graces.add(spine.column, self._time, line, len(self._starts) - 1, graces)
        return passes

    def _change_signatures(self, **values: Any) -> None:
        """Note what is in force from the present bar on, or from the next one if time has passed in the present one."""
        last = self._signatures[max(self._signatures)]
        bar = len(self._starts) - 1 + (self._time > self._starts[-1])
        self._signatures[bar] = last._replace(**values)

    def _signatures_of_bars(self) -> list[Signatures]:
        signatures: list[Signatures] = []
        for bar in range(len(self._starts)):
            signatures.append(self._signatures.get(bar, signatures[-1] if signatures else Signatures()))
        return signatures

    def _stated_order(self) -> list[int] | None:
        """The order of bars in the expansion list; None if there is none or it is invalid."""
        if self._expansion is None or not self._labels:
            return None
        begins = sorted({*self._labels.values(), len(self._starts)})
        order = list(range(begins[0]))
        for name in self._expansion:
            first = self._labels.get(name)
            if first is None:
                return None
            order += range(first, next((place for place in begins if place > first), first))
            if len(order) > MAX_PLAYED_BARS:
                break  # too many, which the caller counts
        return order
