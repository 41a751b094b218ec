"""Files whose size field is wrong, such as some kernel files."""

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

import music.bundle_files
from music.bundle_files import UnreadableFileError, file_sha256, read_file

LIMIT = 1000


class Endless(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert size >= 0, "such a file is never read whole"
        return b"x" * size


class NotYet(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        return None  # type: ignore[return-value]  # of a descriptor that does not wait


Opens = Callable[[type[io.BytesIO]], None]


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> Opens:
    """Replaces the next opened files."""

    def replace(kind: type[io.BytesIO]) -> None:
        def opened(descriptor: int, *_: Any) -> IO[bytes]:
            os.close(descriptor)
            return kind()

        monkeypatch.setattr(os, "fdopen", opened)
        monkeypatch.setattr(os, "fstat", lambda _: Path(__file__).stat())

    return replace


def test_a_regular_file_is_read_and_hashed(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    data = bytes(range(256)) * 10_000
    path.write_bytes(data)
    assert read_file(path) == data
    assert file_sha256(path) == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("read", [lambda path: read_file(path, LIMIT), file_sha256], ids=["read", "hash"])
def test_a_file_that_never_ends_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opens: Opens, read: Callable[[Path], object]
) -> None:
    monkeypatch.setattr(music.bundle_files, "MAX_FILE_BYTES", 3_000_000)
    path = tmp_path / "weights"
    path.touch()
    opens(Endless)
    with pytest.raises(UnreadableFileError, match="it is larger than"):
        read(path)


def test_a_file_without_available_data_is_empty(tmp_path: Path, opens: Opens) -> None:
    path = tmp_path / "weights"
    path.touch()
    opens(NotYet)
    assert read_file(path) == b""
    assert file_sha256(path) == hashlib.sha256().hexdigest()
