"""Readers of score files, one module a format; callers use `read_file`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from music.errors import InvalidScoreError
from training.readers.abc import read_abc_file
from training.readers.formats import (
    ABC_SUFFIXES,
    HUMDRUM_SUFFIXES,
    MEI_SUFFIXES,
    MIDI_SUFFIXES,
    MUSICXML_SUFFIXES,
    SUFFIXES,
    UNREADABLE,
)
from training.readers.humdrum import read_humdrum_file
from training.readers.midi import read_midi_file
from training.readers.reading import FileReadings, Reading, ReadOptions, printable, printable_text
from training.readers.xml_files import read_xml_file

__all__ = [
    "CHORALE_PARTS", "MIDI_SUFFIXES", "SUFFIXES", "UNREADABLE", "FileReadings", "ReadOptions", "Reading", "printable",
    "printable_text", "read_file",
]  # fmt: skip

CHORALE_PARTS: Final = ("Soprano", "Alto", "Tenor", "Bass")

_READERS: Final[Mapping[str, Callable[[Path, str, ReadOptions], FileReadings]]] = {
    **dict.fromkeys(MIDI_SUFFIXES, read_midi_file),
    **dict.fromkeys(ABC_SUFFIXES, read_abc_file),
    **dict.fromkeys(MUSICXML_SUFFIXES | MEI_SUFFIXES, read_xml_file),
    **dict.fromkeys(HUMDRUM_SUFFIXES, read_humdrum_file),
}


def read_file(path: Path, name: str, options: ReadOptions | None = None) -> FileReadings:
    """Read every score of a file with the reader for its suffix. Most files hold one score.

    Args:
        path: the file.
        name: name of the piece; several pieces are named `name#1`, `name#2` and so on.
        options: options of the reader; None for the defaults.

    Raises:
        InvalidScoreError: the file cannot be read, no score in it holds a pitched note, or one lasts too long.
        OSError: the file cannot be opened.
    """
    suffix = path.suffix.lower()
    reader = _READERS.get(suffix)
    if reader is None:
        raise InvalidScoreError(UNREADABLE.get(suffix, f"no reader for {suffix or 'a file without a suffix'}"))
    return reader(path, name, options or ReadOptions())
