"""`prepare`: read a corpus in parallel, split it by piece, store it as one array file."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from tqdm import tqdm

from music.note_counts import NoteCounts
from training.corpus.dedup import DisjointSets, near_duplicates
from training.corpus.reading_pool import Failure, ReadLimits, read_in_processes
from training.corpus.sections import cut_into_sections
from training.corpus.sources import Source
from training.corpus.store import CompactScore, Corpus, Split
from training.errors import CorpusError
from training.readers import FileReadings, read_file

_HELD_OUT_FRACTION: Final = 0.1
MIN_TO_SPLIT: Final = 3
"""Minimum number of files, or pieces, for a split by piece."""


@dataclass(slots=True)
class Report:
    """Result of reading a set of files."""

    read: int = 0
    """Number of files that were read."""
    failed: int = 0
    """Number of files that could not be read."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Reason by name of the file, or of the piece in it."""
    counts: NoteCounts = field(default_factory=NoteCounts)
    """Note counts of all files."""
    unbalanced: list[str] = field(default_factory=list)
    """Pieces whose note counts do not add up, which is a defect of the reader."""
    duplicates: list[int] = field(default_factory=list)
    """Sizes of the groups of near-duplicates, largest first; empty if the split was given."""
    sections: bool = False
    """Whether every piece was cut into sections. Near-duplicates are then in all splits."""


@dataclass(frozen=True, slots=True)
class FileScores:
    """The pieces of one file."""

    scores: list[tuple[str, CompactScore, NoteCounts]]
    """Name, score and note counts of each piece."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Reason by name of a skipped piece."""

    @classmethod
    def of(cls, file: FileReadings) -> "FileScores":
        """Pack the result of a reader."""
        packed = [(reading.name, CompactScore.of(reading.score), reading.counts) for reading in file.readings]
        return cls(packed, file.skipped)


def split_by_piece(files: Mapping[str, str], held_out: float = _HELD_OUT_FRACTION) -> dict[str, Split]:
    """Split by file name alone: `held_out` of the files go to validation and to test each, at least one.

    A file that holds more than half of the pieces is used for training.

    Args:
        files: name of the file by name of the piece. All pieces of a file are in one split.
        held_out: share of the files for each of validation and test.

    Raises:
        CorpusError: fewer than three files.
    """
    sizes = Counter(files.values())
    # Sorted by hash; a file that holds most of the pieces is sorted last, and the last ones are used for training.
    names = sorted(sizes, key=lambda name: (2 * sizes[name] > len(files), hashlib.sha256(name.encode()).digest()))
    if len(names) < MIN_TO_SPLIT:
        raise CorpusError(
            f"too few files to split by piece into train, valid and test: at least {MIN_TO_SPLIT} readable files are "
            f"needed, not {len(names)}"
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
    description: str | None,
    limits: ReadLimits,
    progress: bool = True,
) -> tuple[Corpus, Report]:
    """Read files. A file that cannot be read is skipped, and the report names it.

    Args:
        sources: files to read.
        splits: split by name of the source; None to split by file, with near-duplicates in one split.
        description: one sentence about the corpus, stored in it; None for the number of files that were read.
        limits: number of processes, time and memory.
        progress: whether to show a progress bar.

    Raises:
        CorpusError: no file could be read, or there is too little to split.
    """
    scores, files, report = read_files(sources, _read_file, limits=limits, progress=progress)
    if description is None:
        description = f"{report.read} file{'s' if report.read > 1 else ''}"
    if splits is not None:
        sides = {name: splits[file] for name, file in files.items()}
    else:
        groups = near_duplicates(scores)
        report.duplicates = sorted((size for size in Counter(groups.values()).values() if size > 1), reverse=True)
        by_file = _join(files, groups)
        one_unit = _largest(by_file) > len(scores) / 2  # a tune that is in two books joins the books
        if len(set(by_file.values())) >= MIN_TO_SPLIT and not one_unit:
            sides = split_by_piece(by_file)
            description += ", split by piece"
        elif len(set(groups.values())) >= MIN_TO_SPLIT:
            sides = split_by_piece(groups)
            if not one_unit:
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
    """Read files. A file that cannot be read is skipped, and the report names it.

    Args:
        sources: files to read.
        read: a module-level function, since the processes import it by name.
        limits: number of processes, time and memory.
        progress: whether to show a progress bar.

    Returns:
        Scores and file names by name of the piece, and the report.

    Raises:
        CorpusError: no file could be read.
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
    """Join the files that hold pieces of one group; the name of the first such file, by piece."""
    names = sorted(set(files.values()))
    indices = {name: index for index, name in enumerate(names)}
    sets = DisjointSets(len(names))
    for piece, first in groups.items():
        sets.join(indices[files[piece]], indices[files[first]])
    return {piece: names[sets.find(indices[name])] for piece, name in files.items()}


def _largest(units: Mapping[str, str]) -> int:
    """Number of pieces in the largest unit."""
    return max(Counter(units.values()).values())


def _read_file(source: Source) -> FileScores:
    return FileScores.of(read_file(source.path, source.name, source.options))
