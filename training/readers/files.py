"""Reads a score file as bytes, of bounded size, or as text."""

import codecs
from pathlib import Path
from typing import Final

from music.errors import InvalidScoreError
from training.readers.archive import MAX_FILE_BYTES

_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read_bytes(path: Path) -> bytes:
    """Read the bytes of a score file.

    Raises:
        InvalidScoreError: the file is empty or larger than `MAX_FILE_BYTES`.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if not data:
        raise InvalidScoreError("the file is empty")
    if len(data) > MAX_FILE_BYTES:
        raise InvalidScoreError(f"the file is larger than {MAX_FILE_BYTES >> 20} MiB, the maximum")
    return data


def decode_text(data: bytes) -> str:
    """Decode a score file by its byte order mark, else as UTF-8, else as Windows-1252 (a superset of Latin-1).

    Older score files state no encoding, so decoding never fails. A byte without a character becomes U+FFFD. This
    affects only lyrics and titles, since notes are ASCII.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    if b"\0" in data[:4]:  # the first character of a score is ASCII
        return data.decode("utf-16-be" if data[:1] == b"\0" else "utf-16-le", "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")
