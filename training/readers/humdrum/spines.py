"""Follows the spines of a Humdrum file: columns that split, join, swap, begin and end."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from music.errors import InvalidScoreError

_PATHS: Final = frozenset(("*^", "*v", "*x", "*+", "*-"))


@dataclass(slots=True)
class Spine:
    """One column at a line."""

    kind: str
    """Its exclusive interpretation, such as `**kern`."""
    column: int
    """Index of the original column of this spine."""
    next_time: Fraction = field(default_factory=Fraction)
    """End of its current note or rest, in quarters."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line with the spine of each field."""

    number: int
    fields: list[str]
    spines: list[Spine]


def pieces(lines: list[str]) -> list[list[tuple[int, str]]]:
    """Divide a file into pieces of numbered lines. A piece begins where spines begin and none is open."""
    found: list[list[tuple[int, str]]] = []
    open_spines = False
    for number, line in enumerate(lines, 1):
        if line.startswith("**") and not open_spines:
            found.append([])
            open_spines = True
        if open_spines:
            found[-1].append((number, line))
            fields = line.split("\t")
            open_spines = not all(cell == "*-" for cell in fields)
    return found


def spine_lines(numbered: list[tuple[int, str]]) -> Iterator[Line]:
    """The data lines of a piece. Spine manipulators are applied, not returned.

    Raises:
        InvalidScoreError: a line has more or fewer fields than there are spines.
    """
    spines: list[Spine] = []
    columns = 0
    for number, text in numbered:
        if not text or text.startswith("!"):
            continue
        fields = text.split("\t")
        if not spines:
            spines = [Spine(kind, column) for column, kind in enumerate(fields)]
            columns = len(spines)
            continue
        if len(fields) != len(spines):
            raise InvalidScoreError(f"line {number} has {len(fields)} fields, but there are {len(spines)} spines")
        if text.startswith("*") and any(cell in _PATHS or cell.startswith("**") for cell in fields):
            spines, columns = _follow(fields, spines, columns)
            if not spines:
                return
            continue
        yield Line(number, fields, spines)


def _follow(fields: list[str], spines: list[Spine], columns: int) -> tuple[list[Spine], int]:
    followed: list[Spine] = []
    index = 0
    while index < len(fields):
        cell, spine = fields[index], spines[index]
        if cell == "*^":
            followed += [spine, Spine(spine.kind, spine.column, spine.next_time)]
        elif cell == "*v":
            while index + 1 < len(fields) and fields[index + 1] == "*v" and spines[index + 1].column == spine.column:
                index += 1
                spine.next_time = max(spine.next_time, spines[index].next_time)
            followed.append(spine)
        elif cell == "*x" and index + 1 < len(fields) and fields[index + 1] == "*x":
            followed += [spines[index + 1], spine]
            index += 1
        elif cell == "*+":
            followed += [spine, Spine("", columns, spine.next_time)]
            columns += 1
        elif cell.startswith("**"):
            spine.kind = cell
            followed.append(spine)
        elif cell != "*-":
            followed.append(spine)
        index += 1
    return followed, columns
