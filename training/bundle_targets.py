"""Checks of a new bundle's name and directory, before the work that it takes."""

import re
from pathlib import Path
from typing import Final

from music.errors import BundleFormatError
from music.manifest import MANIFEST, NAME_PATTERN, Manifest, read_manifest
from report.files import check_writable
from training.errors import ExportError
from training.model_card import card_files

_NAME_RULE: Final = (
    "a model's name has at most 63 characters: lower-case letters, digits, '.', '_' and '-', the first a letter or "
    "digit"
)


def check_name(name: str) -> None:
    """Check the name of a model.

    Raises:
        ExportError: it is not valid.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise ExportError(f"{name!r} is not a valid model name: {_NAME_RULE}{_suggestion(name)}")


def check_target(target: Path, name: str) -> None:
    """Check that a bundle called `name` can be written to `target`, in place of a bundle and its model card there.

    A folder whose name is a number is a version of a model.

    Raises:
        ExportError: the name is not valid, or another bundle beside `target` has it; the folder holds something other
            than one bundle, or cannot be written.
    """
    check_name(name)
    if target.exists():
        if not target.is_dir():
            raise ExportError(f"{target} exists and is not a folder; choose another --out")
        present = {path.name for path in target.iterdir()}
        manifest = manifest_at(target)
        listed = set() if manifest is None else {MANIFEST, *manifest.files, *card_files(target)}
        if present - listed:
            raise ExportError(f"{target} exists and holds other files than a bundle; choose another --out")
    try:
        check_writable(target.parent)
    except OSError as error:
        raise ExportError(f"cannot write {target}: {error.strerror or error}") from error
    if target.name.isdecimal():  # a version: the others beside it have the same name
        return
    for other in sorted(target.parent.iterdir()):
        if other.name != target.name and not other.name.startswith("."):
            manifest = manifest_at(other)
            if manifest is not None and manifest.name == name:
                raise ExportError(
                    f"{other} already holds a model called {name!r}, and a server loads only one model of each name: "
                    "choose another name"
                )


def manifest_at(folder: Path) -> Manifest | None:
    """The manifest of the bundle in a folder. None if there is no bundle."""
    try:
        return read_manifest(folder)
    except BundleFormatError:
        return None


def _suggestion(name: str) -> str:
    """A similar valid name, as the end of a sentence. Empty if there is none."""
    near = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:63].rstrip("-._")
    return f"; for example {near!r}" if re.fullmatch(NAME_PATTERN, near) else ""
