"""Reads files of a bundle before they are verified: regular files only, of limited size."""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Final

MAX_FILE_BYTES: Final = 2**31 - 1
"""Maximum size of a file: the limit of Protocol Buffers, and so of ONNX."""
_BLOCK_BYTES: Final = 1 << 20


class UnreadableFileError(Exception):
    """A file cannot be read. The message gives the reason without the file's name."""


def read_file(path: Path, limit: int = MAX_FILE_BYTES) -> bytes:
    """The content of a regular file; symbolic links are followed.

    Args:
        path: of the file.
        limit: maximum size in bytes.

    Raises:
        UnreadableFileError: it is missing, unreadable, no regular file, or larger than the limit.
    """
    with _open_regular(path, limit) as file:
        data = file.read(limit + 1) or b""  # None if no data is available yet
    if len(data) > limit:  # it has grown, or it is a kernel file, whose size reads as 0
        raise UnreadableFileError(_too_large(limit))
    return data


def file_sha256(path: Path) -> str:
    """sha256 of a regular file, in hex.

    Raises:
        UnreadableFileError: see `read_file`.
    """
    digest, size = hashlib.sha256(), 0
    with _open_regular(path, MAX_FILE_BYTES) as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
            if size > MAX_FILE_BYTES:  # see `read_file`
                raise UnreadableFileError(_too_large(MAX_FILE_BYTES))
    return digest.hexdigest()


@contextmanager
def _open_regular(path: Path, limit: int) -> Iterator[BufferedReader]:
    try:
        # Checked before it is opened, because opening a device may have an effect, and again afterwards, because the
        # file may have been replaced. Without O_NONBLOCK, opening a named pipe would wait for a writer.
        _check_regular(path.stat(), limit)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            _check_regular(os.fstat(descriptor), limit)
            yield file
    except OSError as error:
        raise UnreadableFileError(error.strerror or str(error)) from error
    except ValueError as error:  # such as a NUL in the name
        raise UnreadableFileError(str(error)) from error


def _check_regular(status: os.stat_result, limit: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, a device or a socket"
        raise UnreadableFileError(f"it is {kind}, not a file")
    if status.st_size > limit:
        raise UnreadableFileError(_too_large(limit))


def _too_large(limit: int) -> str:
    return f"it is larger than {limit:,} bytes"
