"""Finds a Standard MIDI File in bytes, and names other kinds of files."""

from typing import Final

from music.errors import InvalidScoreError

_MACBINARY_HEADER_BYTES: Final = 128
_INSPECTED_BYTES: Final = 512
_RIFF_HEADER_BYTES: Final = 12
_RIFF_CHUNK_HEADER_BYTES: Final = 8

_SIGNATURES: Final[tuple[tuple[bytes, str], ...]] = (
    (b"PK", "a ZIP archive, as compressed MusicXML (.mxl) and MuseScore (.mscz) are"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"%PDF", "a PDF document"),
    (b"OggS", "Ogg audio"),
    (b"ID3", "MP3 audio"),
    (b"fLaC", "FLAC audio"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"XMF_", "an XMF container"),
    (b"version https://git-lfs", "a Git LFS pointer: fetch the file itself"),
)
_IN_XML: Final[tuple[tuple[bytes, str], ...]] = (
    (b"<score-partwise", "MusicXML"),
    (b"<score-timewise", "MusicXML"),
    (b"<mei", "MEI"),
    (b"<museScore", "MuseScore (.mscx)"),
    (b"<html", "a web page"),
    (b"<!doctype html", "a web page"),
)


def find_midi(data: bytes) -> tuple[int, int]:
    """Start and end of the Standard MIDI File in `data`.

    It is one of: all of `data`, the `data` chunk of a RIFF container of the form RMID (MIDI Association, RP-029), the
    bytes after a MacBinary header.

    Raises:
        InvalidScoreError: there is none; the message names the kind of file that the bytes look like.
    """
    if data.startswith(b"MThd"):
        return 0, len(data)
    if data.startswith(b"RIFF") and data[8:12] == b"RMID":
        return _in_riff(data)
    if data.startswith(b"MThd", _MACBINARY_HEADER_BYTES):
        return _MACBINARY_HEADER_BYTES, len(data)
    if not data:
        raise InvalidScoreError("the file is empty")
    raise InvalidScoreError(f"not a MIDI file: it looks like {_looks_like(data[:_INSPECTED_BYTES])}")


def _in_riff(data: bytes) -> tuple[int, int]:
    position = _RIFF_HEADER_BYTES
    while position + _RIFF_CHUNK_HEADER_BYTES <= len(data):
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        start = position + _RIFF_CHUNK_HEADER_BYTES
        if data[position : position + 4] == b"data":
            if not data.startswith(b"MThd", start):
                raise InvalidScoreError(f"the data chunk at offset {position} of the RMID container holds no MIDI file")
            return start, min(start + length, len(data))
        position = start + length + length % 2
    raise InvalidScoreError("the RMID container has no data chunk")


def _looks_like(head: bytes) -> str:
    """The kind of file that starts with these bytes."""
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head.startswith(b"RIFF"):
        return f"a RIFF container of the form {head[8:12].decode('latin-1').encode('unicode_escape').decode()}"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"<"):
        lower = text.lower()
        return next((name for mark, name in _IN_XML if mark.lower() in lower), "XML")
    if text.startswith((b"X:", b"%abc")) or b"\nX:" in text:
        return "ABC"
    if text.startswith((b"**", b"!!")) or b"\n**kern" in text:
        return "Humdrum"
    if not any(head):
        return "zeros alone"
    if all(byte >= 0x20 or byte in b"\t\n\r\f" for byte in head):
        return "text"
    return f"data that begin with {head[:4].hex(' ').upper()}"
