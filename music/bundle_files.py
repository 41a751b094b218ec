"""Reads files of a bundle whose content is not trusted yet: plain files only, of bounded size."""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Final

MAX_FILE_BYTES: Final = 2**31 - 1
"""Of any file; Protocol Buffers, and so ONNX, end there."""
_BLOCK_BYTES: Final = 1 << 20


class UnreadableFileError(Exception):
    """A file cannot be read; the message says why, without its name."""


def read_file(path: Path, limit: int = MAX_FILE_BYTES) -> bytes:
    """The whole content of a plain file, or of one that a symbolic link leads to.

    Args:
        path: where it is.
        limit: bytes that it may have.

    Raises:
        UnreadableFileError: it is missing, unreadable, no plain file or larger than the limit.
    """
    with _opened(path, limit) as file:
        data = file.read(limit + 1) or b""  # None where the kernel has nothing to read yet
    if len(data) > limit:  # it has grown since, or is a file of the kernel's that says it has no size
        raise UnreadableFileError(_too_large(limit))
    return data


def file_sha256(path: Path) -> str:
    """sha256 of a plain file, in hex.

    Raises:
        UnreadableFileError: see `read_file`.
    """
    digest, size = hashlib.sha256(), 0
    with _opened(path, MAX_FILE_BYTES) as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
            if size > MAX_FILE_BYTES:  # as in `read_file`
                raise UnreadableFileError(_too_large(MAX_FILE_BYTES))
    return digest.hexdigest()


@contextmanager
def _opened(path: Path, limit: int) -> Iterator[BufferedReader]:
    try:
        # Asked before it is opened, since to open a device may have an effect; and again once it is open, since what
        # is there may have changed. Without O_NONBLOCK a named pipe would be waited for.
        _require_plain(path.stat(), limit)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            _require_plain(os.fstat(descriptor), limit)
            yield file
    except OSError as error:
        raise UnreadableFileError(error.strerror or str(error)) from error
    except ValueError as error:  # such as a NUL in its name
        raise UnreadableFileError(str(error)) from error


def _require_plain(status: os.stat_result, limit: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, a device or a socket"
        raise UnreadableFileError(f"it is {kind}, not a file")
    if status.st_size > limit:
        raise UnreadableFileError(_too_large(limit))


def _too_large(limit: int) -> str:
    return f"it is larger than {limit:,} bytes"
