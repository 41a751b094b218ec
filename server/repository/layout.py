"""Reads the layout of a model repository: which bundles are where, and whether their files have changed.

    models/
        chorales/manifest.json ...      a bundle: version 1 of its model
        piano/1/manifest.json ...       versions 1 and 2 of the model piano
        piano/2/manifest.json ...
        piano/default                   optional: a symbolic link to a version, or a file with its number

Symbolic links are followed, as volumes of Kubernetes need: `piano` may be a link to `..data/piano`, and so may any
file. Hidden entries, `..data` among them, are no models.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from music.bundle_files import UnreadableFileError, read_file
from music.errors import plain_text
from music.manifest import MANIFEST
from server.errors import StartupError

VERSION_PATTERN: Final = r"[1-9][0-9]{0,17}"
"""Name of a version's folder: its number, which fits into 64 bits, without leading zeros."""
ALIAS: Final = "default"
"""Entry of a model's folder that names the default version."""
ALIAS_RULE: Final = f"the entry {ALIAS} must be a symbolic link to a version of the model, or a file with its number"
_LOST_AND_FOUND: Final = "lost+found"  # at the root of every ext4 volume
_MAX_ALIAS_BYTES: Final = 64

Fingerprint = tuple[tuple[str, int, int, int, int], ...]
"""Name, device, inode, size and time of the last change (ns) of each file: differs if one is replaced or written to."""


@dataclass(frozen=True, slots=True)
class BundleFolder:
    """The folder of one version."""

    path: Path
    version: int
    fingerprint: Fingerprint
    """Of its files; empty if it cannot be read."""

    @property
    def has_manifest(self) -> bool:
        """Whether it has a manifest. While it is copied, it may have none."""
        return any(entry[0] == MANIFEST for entry in self.fingerprint)


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """The folder of one model."""

    path: Path
    bundles: tuple[BundleFolder, ...] = ()
    """Its versions, the highest first."""
    name: str = ""
    """The name that its bundles must have; empty for any: a bundle without versions has that of its manifest."""
    default: int | None = None
    """The version that the alias names, which may be missing; 0 if it names none; None without an alias."""
    problem: str = ""
    """Why nothing can be known about its bundles."""
    notes: tuple[str, ...] = ()
    """What is wrong with entries that are not used: sentences."""


def read_repository(root: Path) -> tuple[ModelFolder, ...]:
    """The models in a repository, sorted by path; the repository itself if it is a bundle.

    Hidden folders and `lost+found` are ignored. A folder without a manifest and without versions is a bundle, and a
    broken symbolic link is a model with a problem, so that nothing is ignored that an operator expects to be served.

    Raises:
        StartupError: the repository cannot be read.
    """
    try:
        if os.path.lexists(root / MANIFEST):
            return (ModelFolder(root, (_bundle(root, 1),)),)
        paths = [path for path in root.iterdir() if not path.name.startswith(".") and path.name != _LOST_AND_FOUND]
        folders = sorted(path for path in paths if path.is_dir() or (path.is_symlink() and not path.exists()))
    except OSError as error:
        raise StartupError(f"the folder of models {root} cannot be read: {error.strerror or error}") from error
    return tuple(map(_model, folders))


def _model(path: Path) -> ModelFolder:
    try:
        entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
        numbered = [entry for entry in entries if re.fullmatch(VERSION_PATTERN, entry.name) and not entry.is_file()]
    except FileNotFoundError:
        return ModelFolder(path, problem="it is a broken symbolic link")
    except OSError as error:
        return ModelFolder(path, problem=f"it cannot be read: {error.strerror or error}")
    flat = any(entry.name == MANIFEST for entry in entries)
    if flat and numbered:
        found = ", ".join(entry.name for entry in numbered)
        text = f"it has both {MANIFEST} and folders of versions ({found}): move its bundle into a folder of its own"
        return ModelFolder(path, problem=text)
    if flat or not numbered:
        return ModelFolder(path, (_bundle(path, 1),))
    bundles = sorted((_bundle(entry, int(entry.name)) for entry in numbered), key=lambda bundle: -bundle.version)
    default = _alias(path / ALIAS) if path / ALIAS in entries else None
    return ModelFolder(path, tuple(bundles), path.name, default, notes=tuple(_unknown(entries, numbered)))


def _unknown(entries: Iterable[Path], numbered: Iterable[Path]) -> Iterable[str]:
    for entry in entries:
        if entry not in numbered and entry.name not in (ALIAS, _LOST_AND_FOUND) and entry.is_dir():
            yield f"{plain_text(entry.name)} is ignored: the folder of a version has a number as its name, such as 1"


def _alias(path: Path) -> int:
    """The version that an alias names; 0 if it names none."""
    try:
        text = path.resolve().name if path.is_dir() else read_file(path, _MAX_ALIAS_BYTES).decode("ascii").strip()
    except (OSError, RuntimeError, UnreadableFileError, UnicodeDecodeError):  # RuntimeError: links in a circle
        return 0
    return int(text) if re.fullmatch(VERSION_PATTERN, text) else 0


def _bundle(path: Path, version: int) -> BundleFolder:
    try:
        return BundleFolder(path, version, tuple(sorted(_stamps(path))))
    except OSError:  # the reason is known when it is loaded
        return BundleFolder(path, version, ())


def _stamps(path: Path) -> Iterable[tuple[str, int, int, int, int]]:
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                status = entry.stat()
            except OSError:  # such as a broken symbolic link
                yield (entry.name, 0, 0, -1, 0)
            else:
                if not entry.is_dir():
                    yield (entry.name, status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns)
