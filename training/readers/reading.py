"""The result of a reader: the scores of one file and the counts of their notes."""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from music.errors import InvalidScoreError
from music.note_counts import NoteCounts
from music.score import Score

_DIRECTIONS: Final = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

_PieceT = TypeVar("_PieceT")


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Options of a reader, the same for every format."""

    parts: tuple[str, ...] | None = None
    """Names of the parts that become the voices, in this order; None for every pitched part, the highest first."""
    play_repeats: bool = True
    """Whether repeats, endings and jumps are played out; otherwise every bar is read once, as written."""
    min_quarters: int = 0
    """Minimum length of the score in quarters; rests at the end fill it."""
    play_graces: bool = False
    """Whether grace notes of Humdrum files are played before the beat; in other formats they are left out anyway."""
    by_staff: bool = False
    """Whether the voices are the parts from the highest staff to the lowest, instead of ordered by mean pitch. In MIDI
    files they are then two: the upper and the lower staff."""


class PlayedBar(NamedTuple):
    """A bar at the place where it is played."""

    tick: int
    """Its start, in ticks from the start of the score."""
    meter: tuple[int, int] | None
    """Beats and beat unit of the time signature in force; None if there is none."""
    key_sharps: int | None
    """Key signature in force, in sharps; None if there is none."""
    tempo_bpm: float | None
    """Quarter notes per minute in force; None if no tempo is stated."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One score of a file, and the counts of its source's notes."""

    name: str
    score: Score
    counts: NoteCounts
    bars: tuple[PlayedBar, ...] = ()
    """Bars in the order in which they are played; empty if the reader does not state them."""
    graces: frozenset[int] = frozenset()
    """Indices in `score.notes` of the notes that are written as grace notes."""


@dataclass(frozen=True, slots=True)
class FileReadings:
    """The pieces of one file. A piece that cannot be read does not affect the others."""

    readings: list[Reading]
    skipped: dict[str, str] = field(default_factory=dict)
    """Reason by name of a piece of the file that could not be read."""


def read_pieces(name: str, pieces: Sequence[_PieceT], read: Callable[[_PieceT, str], Reading]) -> FileReadings:
    """Read the pieces of a file. A single piece is named `name`, several are named `name#1`, `name#2` and so on.

    Raises:
        InvalidScoreError: no piece can be read.
    """
    file = FileReadings([])
    for number, piece in enumerate(pieces, 1):
        label = name if len(pieces) == 1 else f"{name}#{number}"
        try:
            file.readings.append(read(piece, label))
        except InvalidScoreError as error:
            if len(pieces) == 1:
                raise
            file.skipped[label] = str(error)
    if not file.readings:
        raise InvalidScoreError("; ".join(f"{label}: {reason}" for label, reason in list(file.skipped.items())[:3]))
    return file


def printable(path: Path) -> str:
    """The path with slashes, as a name that can be stored and shown: see `printable_text`."""
    return printable_text(path.as_posix())


def printable_text(text: str) -> str:
    """Escape everything that could disturb a terminal or a file.

    Escaped are bytes that are not UTF-8, control characters, line separators, and characters that change the writing
    direction.
    """
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if _harmless(char) else char.encode("unicode_escape").decode() for char in text)


def _harmless(char: str) -> bool:
    return unicodedata.category(char) not in ("Cc", "Cs", "Zl", "Zp") and char not in _DIRECTIONS
