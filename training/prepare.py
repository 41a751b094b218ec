"""`prepare`: read a corpus in parallel, split it by piece, store it as one array file."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from tqdm import tqdm

from music.note_counts import NoteCounts
from training.corpus import CompactScore, Corpus, Split
from training.disjoint_sets import DisjointSets
from training.duplicates import near_duplicates
from training.errors import CorpusError
from training.readers import FileReadings, read_file
from training.reading_pool import Failure, ReadLimits, read_in_processes
from training.sections import cut_into_sections
from training.sources import Source

_HELD_OUT_FRACTION: Final = 0.1
LEAST_TO_SPLIT: Final = 3
"""Files, or pieces, that a split by piece takes."""


@dataclass(slots=True)
class Report:
    """What became of the files."""

    read: int = 0
    """Files that gave something to look at."""
    failed: int = 0
    """Files that could not be read."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Reason by the name of the file, or of the piece in it."""
    counts: NoteCounts = field(default_factory=NoteCounts)
    """What became of the notes of all files."""
    unbalanced: list[str] = field(default_factory=list)
    """Pieces whose counts do not add up: a defect of the reader."""
    duplicates: list[int] = field(default_factory=list)
    """Pieces in each group of near-duplicates, largest group first; empty where the split was given."""
    sections: bool = False
    """Whether every piece is cut into sections, so that near-duplicates are on all sides of the split."""


@dataclass(frozen=True, slots=True)
class FileScores:
    """What one file gave."""

    scores: list[tuple[str, CompactScore, NoteCounts]]
    """Name, score, and what became of the notes of its source."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Reason by name of a piece that was left out."""

    @classmethod
    def of(cls, file: FileReadings) -> "FileScores":
        """Pack what a reader gave."""
        packed = [(reading.name, CompactScore.of(reading.score), reading.counts) for reading in file.readings]
        return cls(packed, file.skipped)


def split_by_piece(files: Mapping[str, str], held_out: float = _HELD_OUT_FRACTION) -> dict[str, Split]:
    """A split that depends on the names alone: `held_out` of the files each to valid and test, at least one.

    A file that holds more than half of the pieces is for training.

    Args:
        files: name of the file by name of the piece; the pieces of one file stay together.
        held_out: share of the files for each of the two sides.

    Raises:
        CorpusError: fewer than three files.
    """
    sizes = Counter(files.values())
    # The last ones are for training, and so is a file that holds most of the pieces.
    names = sorted(sizes, key=lambda name: (2 * sizes[name] > len(files), hashlib.sha256(name.encode()).digest()))
    if len(names) < LEAST_TO_SPLIT:
        raise CorpusError(
            f"too small to split by piece into train, valid and test: {LEAST_TO_SPLIT} readable files are the least, "
            f"not {len(names)}"
        )
    count = max(1, round(len(names) * held_out))
    sides = dict.fromkeys(names, Split.TRAIN)
    sides.update(dict.fromkeys(names[:count], Split.TEST))
    sides.update(dict.fromkeys(names[count : 2 * count], Split.VALID))
    return {piece: sides[name] for piece, name in files.items()}


def prepare(
    sources: Sequence[Source],
    splits: dict[str, Split] | None,
    *,
    description: str,
    limits: ReadLimits,
    progress: bool = True,
) -> tuple[Corpus, Report]:
    """Read the sources; files that cannot be read are skipped and named in the report.

    Args:
        sources: files to read.
        splits: side of the split by the name of the source; None for a split by file, near-duplicates together.
        description: what the corpus says of itself.
        limits: processes, time and memory for the reading.
        progress: whether to show a bar.

    Raises:
        CorpusError: nothing could be read, or too little to split.
    """
    scores, files, report = read_files(sources, _read_file, limits=limits, progress=progress)
    if splits is not None:
        sides = {name: splits[file] for name, file in files.items()}
    else:
        groups = near_duplicates(scores)
        report.duplicates = sorted((size for size in Counter(groups.values()).values() if size > 1), reverse=True)
        by_file = _join(files, groups)
        tied_up = _largest(by_file) > len(scores) / 2  # one tune of many may join two books
        if len(set(by_file.values())) >= LEAST_TO_SPLIT and not tied_up:
            sides = split_by_piece(by_file)
            description += ", split by piece"
        elif len(set(groups.values())) >= LEAST_TO_SPLIT:
            sides = split_by_piece(groups)
            if not tied_up:
                why = "too few to split by file"
            elif _largest(files) > len(scores) / 2:
                why = "one file holds most pieces"
            else:
                why = "near-duplicates join most files"
            description += f", {why}: split by piece"
        else:
            scores, sides = cut_into_sections(scores)
            report.sections = True
            description += ", too few to split by piece: each is cut into consecutive sections"
    names = sorted(scores)
    corpus = Corpus(
        names, np.array([sides[name] for name in names], np.uint8), [scores[name] for name in names], description
    )
    return corpus, report


def read_files(
    sources: Sequence[Source], read: Callable[[Source], FileScores], *, limits: ReadLimits, progress: bool
) -> tuple[dict[str, CompactScore], dict[str, str], Report]:
    """Read the sources; files that cannot be read are skipped and named in the report.

    Args:
        sources: files to read.
        read: a function of a module, as the processes must find it by name.
        limits: processes, time and memory for the reading.
        progress: whether to show a bar.

    Returns:
        Scores by the name of the piece, the file's name by the name of the piece, and the report.

    Raises:
        CorpusError: nothing could be read.
    """
    report = Report()
    scores: dict[str, CompactScore] = {}
    files: dict[str, str] = {}
    with tqdm(total=len(sources), unit="file", desc="reading", disable=not progress) as bar:
        for source, outcome in read_in_processes(sources, read, limits):
            bar.update()
            if isinstance(outcome, Failure):
                report.failed += 1
                report.skipped[source.name] = outcome.reason
                continue
            report.read += 1
            report.skipped.update(outcome.skipped)
            for name, packed, counts in outcome.scores:
                scores[name] = packed
                files[name] = source.name
                report.counts.update(counts)
                if not counts.balanced or counts.kept != len(packed.notes):
                    report.unbalanced.append(name)
    if not scores:
        reasons = "; ".join(f"{name}: {why}" for name, why in sorted(report.skipped.items())[:3])
        raise CorpusError(f"none of {len(sources)} files could be read ({reasons})")
    return scores, files, report


def _join(files: Mapping[str, str], groups: Mapping[str, str]) -> dict[str, str]:
    """First of the files that belong together, by piece: files that hold pieces of one group do."""
    names = sorted(set(files.values()))
    indices = {name: index for index, name in enumerate(names)}
    sets = DisjointSets(len(names))
    for piece, first in groups.items():
        sets.join(indices[files[piece]], indices[files[first]])
    return {piece: names[sets.find(indices[name])] for piece, name in files.items()}


def _largest(units: Mapping[str, str]) -> int:
    """Pieces in the largest unit."""
    return max(Counter(units.values()).values())


def _read_file(source: Source) -> FileScores:
    return FileScores.of(read_file(source.path, source.name, source.options))
