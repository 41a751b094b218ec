"""Scores in Humdrum's **kern; callers use `read_humdrum_file`.

Read here and not by music21, which loses notes and shifts the rest where spines split inside a bar, and knows no
expansion lists.
"""

import re
from pathlib import Path
from typing import Final

from music.errors import InvalidScoreError
from training.readers.files import read_bytes
from training.readers.humdrum.piece import PieceReader
from training.readers.humdrum.spines import pieces
from training.readers.performance import reading_of
from training.readers.reading import FileReadings, ReadOptions, read_pieces
from training.readers.text import decode_text

__all__ = ["read_humdrum_file"]

_LINE_END: Final = re.compile(r"\r\n|\r|\n")


def read_humdrum_file(path: Path, name: str, options: ReadOptions) -> FileReadings:
    """Read every piece of a Humdrum file; most files hold one.

    Raises:
        InvalidScoreError: the file holds no **kern spine or no pitched note, or none of its pieces can be read.
        OSError: the file cannot be read.
    """
    found = pieces(_LINE_END.split(decode_text(read_bytes(path))))
    if not found:
        raise InvalidScoreError("no Humdrum file: no line in it begins with **")
    return read_pieces(name, found, lambda lines, label: reading_of(PieceReader().read(lines), label, options))
