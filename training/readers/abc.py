"""Tune books in ABC notation."""

from pathlib import Path

from training.readers.notation import read_notation_file
from training.readers.reading import FileReadings, ReadOptions


def read_abc_file(path: Path, name: str, options: ReadOptions) -> FileReadings:
    """Read every tune of an ABC file.

    Raises:
        InvalidScoreError: the file cannot be read, or no score in it holds a pitched note.
    """
    return read_notation_file(path, name, options)
