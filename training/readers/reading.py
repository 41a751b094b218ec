"""What a reader gives: the scores of one file, and what became of their notes."""

from dataclasses import dataclass, field
from pathlib import Path

from music.note_counts import NoteCounts
from music.score import Score


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What a caller decides about the reading; every reader takes the same."""

    parts: tuple[str, ...] | None = None
    """Names of the parts that become the voices, in this order; None for every pitched part, the highest first."""
    play_repeats: bool = True
    """Whether repeats, endings and jumps are played out; otherwise every bar is read once, as written."""


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


def printable(path: Path) -> str:
    """The path with slashes, bytes that are no UTF-8 escaped: a name that can be stored and shown."""
    return path.as_posix().encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
