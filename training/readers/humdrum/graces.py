"""Grace notes of a Humdrum piece: when they are played, and how long.

They are played before the time that they are written at, so that the notes with a duration keep their onsets.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Final, NamedTuple

from training.readers.written import WrittenNote, WrittenPart

_LONG: Final = Fraction(1, 12)
"""Quarters of a grace note if all of a group take at most half of the note or rest before them."""
_SHORT: Final = Fraction(1, 24)
"""Quarters of a grace note in every other group."""
_MOST_ROOM: Final = Fraction(1)
"""Quarters that a group takes at most from earlier notes; longer groups lose their first notes."""


class Grace(NamedTuple):
    """A grace note as written."""

    pitch: int
    ends_tie: bool
    starts_tie: bool


class _Line(NamedTuple):
    number: int
    bar: int
    graces: list[Grace]


class GraceNotes:
    """The grace notes of a piece, and the onsets between which they are played."""

    def __init__(self) -> None:
        self._groups: dict[tuple[int, Fraction], list[_Line]] = defaultdict(list)
        self._onsets: dict[int, list[Fraction]] = defaultdict(list)

    def strike(self, column: int, time: Fraction) -> None:
        """Note that a note or rest with a duration starts in a column."""
        onsets = self._onsets[column]
        if not onsets or onsets[-1] < time:
            onsets.append(time)

    def add(self, column: int, time: Fraction, line: int, bar: int, graces: list[Grace]) -> None:
        """Add the grace notes of one token: those of a line are struck together, those of later lines after them."""
        self._groups[column, time].append(_Line(line, bar, graces))

    def place(self, parts: Mapping[int, WrittenPart], starts: Sequence[Fraction]) -> None:
        """Add the notes to the bars of their parts. A note for which there is no time is counted as left out."""
        for (column, time), lines in self._groups.items():
            numbers = sorted({line.number for line in lines})
            onsets = self._onsets[column]
            before = bisect_left(onsets, time) - 1
            room = time - onsets[before] if before >= 0 else Fraction()
            length = _LONG if len(numbers) * _LONG <= room / 2 else _SHORT
            for line in lines:
                bar = parts[column].bars[line.bar]
                ahead = (len(numbers) - numbers.index(line.number)) * length
                if ahead > min(_MOST_ROOM, time):
                    bar.left_out["grace"] += len(line.graces)
                    continue
                offset = time - ahead - starts[line.bar]
                for grace in line.graces:
                    lasts = ahead if grace.starts_tie else length
                    ties = grace.ends_tie, grace.starts_tie
                    bar.notes.append(WrittenNote(offset, lasts, grace.pitch, 0, *ties, grace=True))
