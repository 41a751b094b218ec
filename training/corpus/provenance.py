"""The folder that a corpus was read from, to detect that a later run names another folder."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Origin:
    """The state of a folder of scores at the time of reading."""

    path: str
    """Absolute path of the folder, or of the one file."""
    files: int
    """Number of score files in it."""
    digest: str
    """sha256 of the names and sizes of the files, in hex."""

    @classmethod
    def of(cls, path: Path, files: Iterable[tuple[str, Path]]) -> Self:
        """Describe a folder; `files` are pairs of (name inside the folder, path).

        Raises:
            OSError: a file no longer exists.
        """
        listed = sorted((name, file.stat().st_size) for name, file in files)
        digest = hashlib.sha256()
        for name, size in listed:
            digest.update(f"{name}\0{size}\0".encode(errors="surrogateescape"))
        return cls(os.fspath(path.resolve()), len(listed), digest.hexdigest())

    @classmethod
    def from_entry(cls, entry: Any) -> Self | None:
        """The inverse of `as_entry`; None for a corpus of an earlier version, which has no such entry."""
        if not isinstance(entry, dict):
            return None
        try:
            return cls(str(entry["path"]), int(entry["files"]), str(entry["digest"]))
        except (KeyError, TypeError, ValueError):
            return None

    def as_entry(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        return asdict(self)

    def difference(self, now: "Origin") -> str | None:
        """Describe the difference to the present state, as part of a sentence; None if there is none.

        A folder that was moved as a whole counts as the same.
        """
        if now.digest == self.digest:
            return None
        if now.path != self.path:
            return f"it was read from {self.path} ({_files(self)}), not from {now.path} ({_files(now)})"
        if now.files != self.files:
            return f"{self.path} held {_files(self)} when it was read and holds {now.files} now"
        return f"files of {self.path} have changed since it was read"


def _files(origin: Origin) -> str:
    return f"{origin.files} file{'' if origin.files == 1 else 's'}"
