"""Scores in Humdrum's **kern, through music21."""

import warnings
from pathlib import Path

from training.readers.files import read_bytes
from training.readers.music21_score import written_score
from training.readers.reading import FileReadings, ReadOptions
from training.readers.text import decode_text
from training.readers.written import reading_of


def read_humdrum_file(path: Path, name: str, options: ReadOptions) -> FileReadings:
    """Read it."""
    from music21 import converter

    text = decode_text(read_bytes(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        score = converter.parseData(text, format="humdrum")
        return FileReadings([reading_of(written_score(score), name, options)])
