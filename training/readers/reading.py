"""What a reader gives: the scores of one file, and what became of their notes."""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from music.errors import InvalidScoreError
from music.note_counts import NoteCounts
from music.score import Score

_DIRECTIONS: Final = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

_PieceT = TypeVar("_PieceT")


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What a caller decides about the reading; every reader takes the same."""

    parts: tuple[str, ...] | None = None
    """Names of the parts that become the voices, in this order; None for every pitched part, the highest first."""
    play_repeats: bool = True
    """Whether repeats, endings and jumps are played out; otherwise every bar is read once, as written."""
    least_quarters: int = 0
    """Quarters that the score lasts at least; closing rests fill them."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One score of a file, and what became of the notes of its source."""

    name: str
    score: Score
    counts: NoteCounts


@dataclass(frozen=True, slots=True)
class FileReadings:
    """What one file gave; a file may hold many pieces, and one bad piece costs itself alone."""

    readings: list[Reading]
    skipped: dict[str, str] = field(default_factory=dict)
    """Reason by name of a piece of the file that could not be read."""


def read_pieces(name: str, pieces: Sequence[_PieceT], read: Callable[[_PieceT, str], Reading]) -> FileReadings:
    """Read the pieces of a file, each by itself, as `name` or, of several, as `name#1`, `name#2` and so on.

    Raises:
        InvalidScoreError: none of them can be read.
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
    """The text with everything escaped that could disturb a terminal or a file.

    That is bytes that are no UTF-8, control characters, separators of lines, and characters that turn the direction of
    writing.
    """
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if _harmless(char) else char.encode("unicode_escape").decode() for char in text)


def _harmless(char: str) -> bool:
    return unicodedata.category(char) not in ("Cc", "Cs", "Zl", "Zp") and char not in _DIRECTIONS
