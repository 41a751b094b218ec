"""Lists score files: those of a folder, or the chorales bundled with music21."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Final

from training.corpus.store import Split
from training.errors import CorpusError
from training.readers import CHORALE_PARTS, SUFFIXES, UNREADABLE, ReadOptions, printable

_CLOSING_RESTS: Final = {"bwv171.6.mxl": 169}
"""Length in quarters with the closing rests that the recorded results include."""
_UNKNOWN: Final = "not in a format that is read"


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read. The name identifies it in the corpus and decides its split."""

    name: str
    path: Path
    options: ReadOptions = field(default_factory=ReadOptions)


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a folder."""

    sources: list[Source]
    ignored: dict[str, str]
    """Reason by name of a file or folder that is not read."""


def chorale_sources() -> tuple[list[Source], dict[str, Split]]:
    """The Bach chorales bundled with music21, and the canonical split; files in no list are used for training."""
    from music21 import corpus

    split_lists = json.loads(resources.files("training.corpus").joinpath("chorale_split.json").read_text())
    splits = {name: side for side in Split for name in split_lists[side.name.lower()]}
    excluded = set(split_lists["never_train"])
    folder = Path(corpus.__file__).parent / "bach"
    paths = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and path.name not in excluded)
    sources = []
    for path in paths:
        # Repeats are not played: a model gains nothing from the same phrase twice.
        min_quarters = _CLOSING_RESTS.get(path.name, 0)
        options = ReadOptions(parts=CHORALE_PARTS, play_repeats=False, min_quarters=min_quarters)
        sources.append(Source(path.name, path, options))
    return sources, {source.name: splits.get(source.name, Split.TRAIN) for source in sources}


def folder_sources(folder: Path, options: ReadOptions | None = None) -> Listing:
    """List every score file under a folder by its path inside it, or the single file `folder`.

    Links are followed. A file that is reachable by several paths is read once. Hidden files and folders (names that
    begin with a dot) are ignored.

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
    ignored: dict[Path, str] = {}
    paths: list[Path] = []
    first_paths: dict[tuple[int, int], Path] = {}
    # Regular files come before links, so that a file keeps its own name.
    for path in sorted(_files(folder, ignored), key=lambda path: (path.is_symlink(), path)):
        if not _is_score(path):
            ignored[path] = _reason(path)
            continue
        status = path.stat()
        first = first_paths.setdefault((status.st_dev, status.st_ino), path)
        if first is path:
            paths.append(path)
        else:
            ignored[path] = f"the same file as {printable(first.relative_to(folder))}"
    named = {printable(path.relative_to(folder)): reason for path, reason in sorted(ignored.items())}
    if not paths:
        looked_for = f"looked for {', '.join(sorted(SUFFIXES))}"
        found = "".join(f"; {name} is {reason}" for name, reason in list(named.items())[:3])
        raise CorpusError(f"no score in {printable(folder)}: {looked_for}{found}")
    return Listing([Source(printable(path.relative_to(folder)), path, options) for path in sorted(paths)], named)


def _files(folder: Path, ignored: dict[Path, str]) -> Iterator[Path]:
    """Every file under a folder. What is no file or cannot be read goes to `ignored`, with the reason."""
    seen: set[tuple[int, int]] = set()
    folders, links = [folder], list[Path]()
    while folders or links:
        current = folders.pop() if folders else links.pop(0)  # links last: a folder keeps its own name
        try:
            status = current.stat()
            if (status.st_dev, status.st_ino) in seen:
                ignored[current] = "a link to a folder that is read already"
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(current) as entries:
                paths = sorted(Path(entry.path) for entry in entries)
        except OSError as error:
            ignored[current] = f"a folder that cannot be listed: {error.strerror}"
            continue
        for path in paths:
            try:
                if path.name.startswith("."):
                    ignored[path] = "hidden"
                elif path.is_dir():
                    (links if path.is_symlink() else folders).append(path)
                elif path.is_file():
                    yield path
                else:
                    ignored[path] = "no regular file" if path.exists() else "a broken link"
            except OSError as error:
                ignored[path] = f"cannot be read: {error.strerror}"


def _is_score(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _reason(path: Path) -> str:
    return UNREADABLE.get(path.suffix.lower(), _UNKNOWN)
