"""Zip archives that hold a score, within bounds that are checked before and while unpacking."""

import io
import zipfile
import zlib
from typing import Final

from music.errors import InvalidScoreError

MAX_FILE_BYTES: Final = 64 << 20
"""Maximum size of a score file, and of a score unpacked from an archive: 64 MiB."""

MAX_MEMBERS: Final = 1_000
"""Maximum number of files in an archive."""

_DIRECTORY_ENTRY: Final = b"PK\x01\x02"
_ENCRYPTED: Final = 1


def is_archive(data: bytes) -> bool:
    """Whether the bytes begin as a zip archive does."""
    return data.startswith((b"PK\x03\x04", b"PK\x05\x06"))


class Archive:
    """A zip archive in memory, of which single members are unpacked."""

    def __init__(self, data: bytes) -> None:
        """Read the archive's directory.

        Raises:
            InvalidScoreError: it is damaged or holds more than `MAX_MEMBERS` files.
        """
        if data.count(_DIRECTORY_ENTRY) > MAX_MEMBERS:  # counted before zipfile makes an object of each
            raise InvalidScoreError(f"the archive holds more than {MAX_MEMBERS:,} files")
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
            raise InvalidScoreError("the zip archive is damaged or truncated") from error
        self.names = self._zip.namelist()

    def read(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
        """Unpack one member.

        Raises:
            InvalidScoreError: there is no such member, it is encrypted or damaged, or it is larger than `limit` bytes
                (declared or unpacked).
        """
        try:
            member = self._zip.getinfo(name)
        except KeyError as error:
            raise InvalidScoreError(f"the archive has no file {name!r}") from error
        if member.flag_bits & _ENCRYPTED:
            raise InvalidScoreError("the archive is encrypted; save the score without a password")
        if member.file_size > limit:
            raise InvalidScoreError(_too_large(name, limit))
        try:
            with self._zip.open(member) as file:
                data = file.read(limit + 1)  # what is declared may be false
        except (zipfile.BadZipFile, NotImplementedError, zlib.error, EOFError, ValueError, OSError) as error:
            raise InvalidScoreError(f"{name!r} in the archive cannot be unpacked: it is damaged") from error
        except RuntimeError as error:  # bz2 and lzma have errors of their own kinds
            raise InvalidScoreError(f"{name!r} in the archive cannot be unpacked") from error
        if len(data) > limit:
            raise InvalidScoreError(_too_large(name, limit))
        return data


def _too_large(name: str, limit: int) -> str:
    size = f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit >> 10} KiB"
    return f"{name!r} in the archive is larger than {size} unpacked, the maximum"
