"""Files that a piece can be saved as, by suffix."""

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fantasia_client.types import Piece

MIDI_SUFFIXES = (".mid", ".midi")
IMAGE_SUFFIXES = (".png", ".svg", ".pdf")
SUFFIXES = (*MIDI_SUFFIXES, ".wav", ".musicxml", *IMAGE_SUFFIXES)
"""Suffixes of the files that `Piece.save` can write."""


def writer(
    path: str | os.PathLike[str], *, soundfont: str | os.PathLike[str] | None = None
) -> "Callable[[Piece], bytes]":
    """The function that gives the bytes of a piece's file. The suffix of the path selects the format.

    It imports what the format needs, so that a missing package is found before there is a piece.

    Args:
        path: path of the file; upper-case suffixes are the same as lower-case ones.
        soundfont: SoundFont 2 file with the instruments of a `.wav`; None for the client's own.

    Raises:
        ValueError: the suffix is not in `SUFFIXES`, or a SoundFont is given for another format than `.wav`.
        MissingExtraError: the package that the format needs is not installed.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"the suffix must be one of {', '.join(SUFFIXES)}, not {suffix!r}: {os.fspath(path)}")
    if soundfont is not None and suffix != ".wav":
        raise ValueError(f"a SoundFont is for .wav files only, not for {suffix}: {os.fspath(path)}")
    # The packages behind these modules are optional and slow to import.
    if suffix == ".wav":
        from fantasia_client.audio import render_wav

        return lambda piece: render_wav(piece, soundfont=soundfont)
    if suffix == ".musicxml":
        from fantasia_client.notation import render_musicxml

        return render_musicxml
    if suffix in IMAGE_SUFFIXES:
        from fantasia_client.piano_roll import render_piano_roll

        return lambda piece: render_piano_roll(piece, file_format=suffix[1:])
    return lambda piece: piece.midi


def replace_file(path: Path, data: bytes) -> None:
    """Write a file, or replace it. If this fails, an existing file is unchanged and a new one does not appear.

    Two kinds of files are written in place: pipes and devices, and files in a folder that cannot be written.

    Raises:
        OSError: the file cannot be written.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    part = target.with_name(f".{secrets.token_hex(8)}.part")
    in_place = target.exists() and not (target.is_file() and os.access(target.parent, os.W_OK))
    try:
        if in_place:
            target.write_bytes(data)
            return
        part.write_bytes(data)
        if target.exists():
            with target.open("ab"):
                pass  # a file that its owner has protected is not replaced
            part.chmod(target.stat().st_mode & 0o7777)
        part.replace(target)
    except BaseException as error:
        with suppress(OSError):
            part.unlink()
        if isinstance(error, OSError):
            error.filename = os.fspath(path)
        raise
