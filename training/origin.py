"""Where a corpus was read from, so that another folder under the same name is noticed."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Origin:
    """A folder of scores as it was when it was read."""

    path: str
    """Absolute path of the folder, or of the one file."""
    files: int
    """Scores in it."""
    digest: str
    """sha256 of their names and sizes, in hex."""

    @classmethod
    def of(cls, path: Path, files: Iterable[tuple[str, Path]]) -> Self:
        """Describe the scores of a folder, each a name inside it and its path.

        Raises:
            OSError: a file is gone.
        """
        listed = sorted((name, file.stat().st_size) for name, file in files)
        digest = hashlib.sha256()
        for name, size in listed:
            digest.update(f"{name}\0{size}\0".encode(errors="surrogateescape"))
        return cls(os.fspath(path.resolve()), len(listed), digest.hexdigest())

    @classmethod
    def from_entry(cls, entry: Any) -> Self | None:
        """What `as_entry` gave; None where a corpus says nothing of it, as those of earlier versions."""
        if not isinstance(entry, dict):
            return None
        try:
            return cls(str(entry["path"]), int(entry["files"]), str(entry["digest"]))
        except (KeyError, TypeError, ValueError):
            return None

    def as_entry(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return asdict(self)

    def difference(self, now: "Origin") -> str | None:
        """What is different now, as a part of a sentence; None where nothing is.

        A folder that was moved as a whole is the same.
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
