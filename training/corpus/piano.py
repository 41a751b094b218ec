"""`prepare piano`: piano scores of the Fryderyk Chopin Institute, and keyboard pieces of the Mutopia Project.

The project carries tables of facts, not the scores: which files of which public repository are used, their sha256 and
their split. The user names folders that hold copies of them.

- `piano_nifc.tsv`: scores in **kern from https://github.com/pl-wnifc/humdrum-chopin-first-editions at commit
  95dfb105c1669c72d10b04088566154f12d3dc1c and https://github.com/pl-wnifc/humdrum-polish-scores at commit
  c0403623c0da3f75f1bcd6041dc85098e0cabe02, CC BY 4.0. The split is by composer, for Chopin by opus.
- `piano_mutopia.tsv`: MIDI files that LilyPond 2.24.1 made from https://github.com/MutopiaProject/MutopiaProject at
  commit 2144afd6f52d56c5b6995b8b589ef1268b3139f0, public domain or CC BY as the table says. The split is by composer
  and opus.

Pieces of which another setting is in the training set are there too. docs/piano.md describes the corpus.
"""

import csv
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from training.corpus.piano_pieces import read_piano_file
from training.corpus.prepare import Report, read_files
from training.corpus.reading_pool import ReadLimits
from training.corpus.sources import Source
from training.corpus.store import Corpus, Split
from training.errors import CorpusError
from training.readers import ReadOptions, printable

REPOSITORIES: Final = (
    "https://github.com/pl-wnifc/humdrum-chopin-first-editions",
    "https://github.com/pl-wnifc/humdrum-polish-scores",
)
"""Repositories of the scores of `piano_nifc.tsv`."""

_TABLES: Final = {"nifc": "piano_nifc.tsv", "mutopia": "piano_mutopia.tsv"}
_DESCRIPTION: Final = "piano pieces of the Fryderyk Chopin Institute and the Mutopia Project, split by composer or opus"
_OPTIONS: Final = ReadOptions(play_graces=True, by_staff=True)


class PianoFile(NamedTuple):
    """A file of the corpus."""

    table: str
    """`nifc` or `mutopia`."""
    name: str
    """Name of the file without folders, which no other file of the corpus has."""
    sha256: str
    split: Split


@dataclass(frozen=True, slots=True)
class PianoListing:
    """The files of the corpus that were found."""

    sources: list[Source]
    splits: dict[str, Split]
    """Split by name of the source."""
    ignored: dict[str, str]
    """Reason by name of a file of the corpus that is not read."""


def piano_files() -> list[PianoFile]:
    """Every file of the corpus, as the project's tables state it."""
    return [
        PianoFile(table, Path(row["file"]).name, row["sha256"], Split[row["split"].upper()])
        for table in _TABLES
        for row in table_rows(table)
    ]


def table_rows(table: str) -> list[dict[str, str]]:
    """The rows of a table, `nifc` or `mutopia`, as values by name of the column."""
    text = resources.files("training.corpus").joinpath(_TABLES[table]).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines(), delimiter="\t"))


def piano_sources(folders: Sequence[Path], wanted: Sequence[PianoFile] | None = None) -> PianoListing:
    """Find the files of the corpus under folders, by name and sha256.

    A table of which the folders hold no file at all is left out as a whole: Mutopia's files need LilyPond.

    Args:
        folders: copies of the repositories, in any arrangement of folders.
        wanted: files of the corpus; None for all.

    Raises:
        CorpusError: a folder does not exist, or holds no file of the corpus.
        OSError: a file of the corpus cannot be read.
    """
    files = piano_files() if wanted is None else wanted
    places = _places(folders, {file.name for file in files})
    found = {file: _path_of(file, places) for file in files}
    tables = {file.table for file, path in found.items() if path is not None}
    if not tables:
        where = ", ".join(map(printable, folders))
        raise CorpusError(f"no file of the piano corpus in {where}; copy {' or '.join(REPOSITORIES)} there")
    sources: list[Source] = []
    splits: dict[str, Split] = {}
    ignored: dict[str, str] = {}
    for file, path in found.items():
        name = f"{file.table}/{file.name}"
        if path is not None:
            sources.append(Source(name, path, _OPTIONS))
            splits[name] = file.split
        elif file.table in tables:
            ignored[name] = "another version than the table's" if file.name in places else "not in the folders"
    return PianoListing(sorted(sources, key=lambda source: source.name), splits, ignored)


def prepare_piano(
    sources: Sequence[Source], splits: Mapping[str, Split], *, limits: ReadLimits, progress: bool = True
) -> tuple[Corpus, Report]:
    """Read the files of the corpus, each as one piece or as several sections of it in one split.

    Args:
        sources: files to read.
        splits: split by name of the source.
        limits: number of processes, time and memory.
        progress: whether to show a progress bar.

    Raises:
        CorpusError: no file could be read.
    """
    scores, files, report = read_files(sources, read_piano_file, limits=limits, progress=progress)
    names = sorted(scores)
    sides = np.array([splits[files[name]] for name in names], np.uint8)
    return Corpus(names, sides, [scores[name] for name in names], _DESCRIPTION), report


def _places(folders: Sequence[Path], names: set[str]) -> Mapping[str, list[Path]]:
    """Paths of the files with these names, by name."""
    places: dict[str, list[Path]] = {}
    for folder in folders:
        if not folder.is_dir():
            raise CorpusError(f"there is no folder {printable(folder)}")
        for path in _walk(folder):
            if path.name in names:
                places.setdefault(path.name, []).append(path)
    return places


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(names))


def _path_of(file: PianoFile, places: Mapping[str, list[Path]]) -> Path | None:
    """The first copy of a file whose sha256 is that of the table."""
    for path in places.get(file.name, ()):
        if hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256:
            return path
    return None
