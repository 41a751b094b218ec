"""Score files to read: those of a folder, and the chorales that music21 brings."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Final

from training.corpus import Split
from training.errors import CorpusError
from training.readers import CHORALE_PARTS, SUFFIXES, UNREADABLE, ReadOptions, printable

_CLOSING_RESTS: Final = {"bwv171.6.mxl": 169}
"""Quarters that a chorale lasts with the closing rests that recorded results were measured with."""
_UNKNOWN: Final = "not in a format that is read"


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read, under the name by which it is known and split."""

    name: str
    path: Path
    options: ReadOptions = field(default_factory=ReadOptions)


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a folder."""

    sources: list[Source]
    passed_over: dict[str, str]
    """Reason by the name of a file, or of a folder, that is not read."""


def chorale_sources() -> tuple[list[Source], dict[str, Split]]:
    """music21's bundled Bach chorales and the canonical split; files named nowhere are for training."""
    from music21 import corpus

    split_lists = json.loads(resources.files("training").joinpath("chorale_split.json").read_text())
    splits = {name: side for side in Split for name in split_lists[side.name.lower()]}
    never = set(split_lists["never_train"])
    folder = Path(corpus.__file__).parent / "bach"
    paths = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and path.name not in never)
    sources = []
    for path in paths:
        # A model gains nothing from a phrase given twice.
        least = _CLOSING_RESTS.get(path.name, 0)
        options = ReadOptions(parts=CHORALE_PARTS, play_repeats=False, least_quarters=least)
        sources.append(Source(path.name, path, options))
    return sources, {source.name: splits.get(source.name, Split.TRAIN) for source in sources}


def folder_sources(folder: Path, options: ReadOptions | None = None) -> Listing:
    """Every file under a folder, by its path inside it; or the one file that `folder` is.

    Links to files and folders are followed. A file that is there twice, by a link, is read once. Hidden files and
    folders, whose names begin with a dot, are passed over.

    Raises:
        CorpusError: there is no such folder, or no score file in it.
    """
    options = options or ReadOptions()
    if folder.is_file():
        if not _is_score(folder):
            raise CorpusError(f"{printable(folder)} cannot be read: {_reason(folder)}")
        return Listing([Source(printable(Path(folder.name)), folder, options)], {})
    if not folder.is_dir():
        raise CorpusError(f"there is no file or folder {printable(folder)}")
    passed_over: dict[Path, str] = {}
    paths: list[Path] = []
    first_paths: dict[tuple[int, int], Path] = {}
    # Files that lie in the folder come before links to them, so that a link never takes a name away from a file.
    for path in sorted(_files(folder, passed_over), key=lambda path: (path.is_symlink(), path)):
        if not _is_score(path):
            passed_over[path] = _reason(path)
            continue
        status = path.stat()
        first = first_paths.setdefault((status.st_dev, status.st_ino), path)
        if first is path:
            paths.append(path)
        else:
            passed_over[path] = f"the same file as {printable(first.relative_to(folder))}"
    named = {printable(path.relative_to(folder)): reason for path, reason in sorted(passed_over.items())}
    if not paths:
        looked_for = f"looked for {', '.join(sorted(SUFFIXES))}"
        found = "".join(f"; {name} is {reason}" for name, reason in list(named.items())[:3])
        raise CorpusError(f"no score in {printable(folder)}: {looked_for}{found}")
    return Listing([Source(printable(path.relative_to(folder)), path, options) for path in sorted(paths)], named)


def _files(folder: Path, passed_over: dict[Path, str]) -> Iterator[Path]:
    """Every file under a folder; what is none, and what cannot be looked into, goes to `passed_over`."""
    seen: set[tuple[int, int]] = set()
    folders, links = [folder], list[Path]()
    while folders or links:
        current = folders.pop() if folders else links.pop(0)  # links last: a folder keeps its own name
        try:
            status = current.stat()
            if (status.st_dev, status.st_ino) in seen:
                passed_over[current] = "a link to a folder that is read already"
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(current) as entries:
                paths = sorted(Path(entry.path) for entry in entries)
        except OSError as error:
            passed_over[current] = f"a folder that cannot be listed: {error.strerror}"
            continue
        for path in paths:
            try:
                if path.name.startswith("."):
                    passed_over[path] = "hidden"
                elif path.is_dir():
                    (links if path.is_symlink() else folders).append(path)
                elif path.is_file():
                    yield path
                else:
                    passed_over[path] = "no regular file" if path.exists() else "a link to nothing"
            except OSError as error:
                passed_over[path] = f"cannot be looked at: {error.strerror}"


def _is_score(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _reason(path: Path) -> str:
    return UNREADABLE.get(path.suffix.lower(), _UNKNOWN)
