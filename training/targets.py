"""What a new bundle may be called and where it may be written, checked before the work that it takes."""

import re
from pathlib import Path
from typing import Final

from music.errors import BundleFormatError
from music.manifest import MANIFEST, NAME_PATTERN, Manifest, read_manifest
from training.card import card_files
from training.errors import ExportError
from training.files import check_writable

_NAME_RULE: Final = (
    "a model's name has at most 63 characters: lower-case letters, digits, '.', '_' and '-', the first a letter or "
    "digit"
)


def check_name(name: str) -> None:
    """Make sure that a model can be called so.

    Raises:
        ExportError: it cannot.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise ExportError(f"a model cannot be called {name!r}: {_NAME_RULE}{_suggestion(name)}")


def check_target(target: Path, name: str) -> None:
    """Make sure, before any work is done, that a bundle called `name` can be written to `target`.

    A model card there goes with the bundle that it describes.

    Raises:
        ExportError: the name is none, or another bundle beside `target` has it; the folder holds something else than
            one bundle, or cannot be written.
    """
    check_name(name)
    if target.exists():
        if not target.is_dir():
            raise ExportError(f"{target} exists and is no folder; choose another --out")
        present = {path.name for path in target.iterdir()}
        manifest = manifest_at(target)
        listed = set() if manifest is None else {MANIFEST, *manifest.files, *card_files(target)}
        if present - listed:
            raise ExportError(f"{target} exists and is no bundle, or holds more than one; choose another --out")
    try:
        check_writable(target.parent)
    except OSError as error:
        raise ExportError(f"cannot write {target}: {error.strerror or error}") from error
    for other in sorted(target.parent.iterdir()):
        if other.name != target.name and not other.name.startswith("."):
            manifest = manifest_at(other)
            if manifest is not None and manifest.name == name:
                raise ExportError(
                    f"{other} holds a model called {name!r} already, and a server loads one of each name: "
                    "choose another name"
                )


def manifest_at(folder: Path) -> Manifest | None:
    """The manifest of the bundle in a folder; None where there is no bundle."""
    try:
        return read_manifest(folder)
    except BundleFormatError:
        return None


def _suggestion(name: str) -> str:
    """A name that is allowed and near, as the end of a sentence."""
    near = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:63].rstrip("-._")
    return f"; {near!r} would do" if re.fullmatch(NAME_PATTERN, near) else ""
