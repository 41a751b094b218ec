"""`prepare folk`: dance tunes and airs from the collections bundled with music21 that may be used for this."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np

from training.corpus.abc_tunes import read_tunes
from training.corpus.prepare import FileScores, Report, read_files, split_by_piece
from training.corpus.reading_pool import ReadLimits
from training.corpus.sources import Source
from training.corpus.store import CompactScore, Corpus
from training.corpus.tune_dedup import group_tunes


@dataclass(frozen=True, slots=True)
class Collection:
    """A folder of music21's corpus. docs/folk.md says why these are used and others are not."""

    folder: str
    title: str


COLLECTIONS: Final = (
    Collection("oneills1850", "O'Neill's Music of Ireland (1903)"),
    Collection("ryansMammoth", "Ryan's Mammoth Collection (1883)"),
)


def folk_sources() -> list[Source]:
    """The ABC files of the collections, named `folder/file`."""
    from music21 import corpus

    root = Path(corpus.__file__).parent
    return [
        Source(f"{collection.folder}/{path.name}", path)
        for collection in COLLECTIONS
        for path in sorted((root / collection.folder).glob("*.abc"))
    ]


def prepare_folk(sources: list[Source], *, limits: ReadLimits, progress: bool = True) -> tuple[Corpus, Report]:
    """Read the tunes of the sources, keep one of tunes that are nearly the same, and split them by tune family.

    The split depends on the names of the groups alone (`split_by_piece`), so the same files give the same split.

    Raises:
        CorpusError: nothing could be read, or too little to split.
    """
    scores, _, report = read_files(sources, _read_file, limits=limits, progress=progress)
    groups = group_tunes(scores)
    for name in groups.duplicates:
        report.skipped[name] = "nearly the same as another tune"
        removed = len(scores.pop(name).notes)
        report.counts.kept -= removed
        report.counts.left_out["near_duplicate"] += removed
    sides = split_by_piece({name: groups.group[name] for name in scores})
    names = sorted(scores)
    splits = np.array([sides[name] for name in names], np.uint8)
    return Corpus(names, splits, [scores[name] for name in names], _description(scores)), report


def _read_file(source: Source) -> FileScores:
    return FileScores.of(read_tunes(source.path, source.name))


def _description(scores: Mapping[str, CompactScore]) -> str:
    counts = Counter(name.split("/")[0] for name in scores)
    parts = [f"{counts[c.folder]} tunes of {c.title}" for c in COLLECTIONS if counts[c.folder]]
    return f"{' and '.join(parts)}, bundled with music21 {version('music21')}, split by tune family"
