"""Scores in Humdrum's **kern; callers use `read_humdrum_file`.

The reader does not use music21: it loses notes and shifts others if spines split inside a bar, and it does not read
expansion lists.
"""

import re
from pathlib import Path
from typing import Final

from music.errors import InvalidScoreError
from training.readers.files import decode_text, read_bytes
from training.readers.humdrum.piece import PieceReader
from training.readers.humdrum.spines import pieces
from training.readers.performance import play_score
from training.readers.reading import FileReadings, Reading, ReadOptions, read_pieces

__all__ = ["read_humdrum_file"]

_LINE_END: Final = re.compile(r"\r\n|\r|\n")


def read_humdrum_file(path: Path, name: str, options: ReadOptions) -> FileReadings:
    """Read every piece of a Humdrum file. Most files hold one.

    Raises:
        InvalidScoreError: the file holds no **kern spine or no pitched note, or none of its pieces can be read.
        OSError: the file cannot be read.
    """
    found = pieces(_LINE_END.split(decode_text(read_bytes(path))))
    if not found:
        raise InvalidScoreError("not a Humdrum file: no line begins with **")

    def read(lines: list[tuple[int, str]], label: str) -> Reading:
        return play_score(PieceReader(play_graces=options.play_graces).read(lines), label, options)

    return read_pieces(name, found, read)
