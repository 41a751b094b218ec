"""`prepare`: read a corpus in parallel, split it by piece, store it as one array file."""

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Final

import numpy as np
from tqdm import tqdm

from music.errors import InvalidScoreError
from music.note_counts import NoteCounts
from training.corpus import CompactScore, Corpus, Split
from training.errors import CorpusError
from training.readers import CHORALE_PARTS, SUFFIXES, FileReadings, ReadOptions, printable, read_file
from training.sections import cut_into_sections

_HELD_OUT_FRACTION: Final = 0.1
_FILES_PER_PROCESS: Final = 200
LEAST_TO_SPLIT: Final = 3
"""Files, or pieces, that a split by piece takes."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read, under the name by which it is known and split."""

    name: str
    path: Path
    options: ReadOptions = field(default_factory=ReadOptions)


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


def chorale_sources() -> tuple[list[Source], dict[str, Split]]:
    """music21's bundled Bach chorales and the canonical split; files named nowhere are for training."""
    from music21 import corpus

    split_lists = json.loads(resources.files("training").joinpath("chorale_split.json").read_text())
    splits = {name: side for side in Split for name in split_lists[side.name.lower()]}
    never = set(split_lists["never_train"])
    folder = Path(corpus.__file__).parent / "bach"
    paths = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and path.name not in never)
    options = ReadOptions(parts=CHORALE_PARTS)
    sources = [Source(path.name, path, options) for path in paths]
    return sources, {source.name: splits.get(source.name, Split.TRAIN) for source in sources}


def folder_sources(folder: Path) -> list[Source]:
    """Every score file under a folder, by its path inside it; or the one file that `folder` is.

    Raises:
        CorpusError: there is no such folder, or no score file in it.
    """
    if folder.is_file() and folder.suffix.lower() in SUFFIXES:
        return [Source(printable(Path(folder.name)), folder)]
    if not folder.is_dir():
        raise CorpusError(f"{folder} is no folder")
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() in SUFFIXES)
    if not paths:
        raise CorpusError(f"no score in {folder}: looked for {', '.join(sorted(SUFFIXES))}")
    return [Source(printable(path.relative_to(folder)), path) for path in paths]


def split_by_piece(files: Mapping[str, str], held_out: float = _HELD_OUT_FRACTION) -> dict[str, Split]:
    """A split that depends on the files' names alone: `held_out` of them each to valid and test, at least one.

    Args:
        files: name of the file by name of the piece; the pieces of one file stay together.
        held_out: share of the files for each of the two sides.

    Raises:
        CorpusError: fewer than three files.
    """
    names = sorted(set(files.values()), key=lambda name: hashlib.sha256(name.encode()).digest())
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
    workers: int,
    progress: bool = True,
) -> tuple[Corpus, Report]:
    """Read the sources in `workers` processes; files that cannot be read are skipped and named in the report.

    Raises:
        CorpusError: nothing could be read, or too little to split.
    """
    scores, files, report = read_files(sources, _read_file, workers=workers, progress=progress)
    if splits is None:
        if len(files) < LEAST_TO_SPLIT:
            scores, splits = cut_into_sections(scores)
            description += ", too few to split by piece: each is cut into consecutive sections"
        elif len(set(files.values())) < LEAST_TO_SPLIT:
            splits = split_by_piece({name: name for name in files})
            description += ", too few to split by file: split by piece"
        else:
            splits = split_by_piece(files)
            description += ", split by piece"
    sides = splits
    names = sorted(scores)
    corpus = Corpus(
        names, np.array([sides[name] for name in names], np.uint8), [scores[name] for name in names], description
    )
    return corpus, report


def read_files(
    sources: Sequence[Source], read: Callable[[Source], FileScores], *, workers: int, progress: bool
) -> tuple[dict[str, CompactScore], dict[str, str], Report]:
    """Read the sources in `workers` processes; files that cannot be read are skipped and named in the report.

    Args:
        sources: files to read.
        read: a function of a module, as the processes must find it by name.
        workers: reading processes.
        progress: whether to show a bar.

    Returns:
        Scores by the name of the piece, the file's name by the name of the piece, and the report.

    Raises:
        CorpusError: nothing could be read, or a process died.
    """
    report = Report()
    scores: dict[str, CompactScore] = {}
    files: dict[str, str] = {}
    with tqdm(total=len(sources), unit="file", desc="reading", disable=not progress) as bar:
        for source, outcome in _outcomes(sources, read, workers):
            bar.update()
            if isinstance(outcome, FileScores):
                report.read += 1
                report.skipped.update(outcome.skipped)
                for name, packed, counts in outcome.scores:
                    scores[name] = packed
                    files[name] = source.name
                    report.counts.update(counts)
            else:
                report.failed += 1
                report.skipped[source.name] = str(outcome)
    if not scores:
        reasons = "; ".join(f"{name}: {why}" for name, why in sorted(report.skipped.items())[:3])
        raise CorpusError(f"none of {len(sources)} files could be read ({reasons})")
    return scores, files, report


def _outcomes(
    sources: Sequence[Source], read: Callable[[Source], FileScores], workers: int
) -> Iterator[tuple[Source, FileScores | Exception]]:
    """What each source gave, in the order in which they are done, or why it gave nothing.

    music21 never gives its memory back, so processes are renewed after `_FILES_PER_PROCESS` files. The pool's own
    `max_tasks_per_child` would be for this, but it hangs (python/cpython#115634): each round has its own pool.
    """
    context = multiprocessing.get_context("spawn")  # forking a process that has threads is asking for trouble
    for first in range(0, len(sources), workers * _FILES_PER_PROCESS):
        round_ = sources[first : first + workers * _FILES_PER_PROCESS]
        with ProcessPoolExecutor(min(workers, len(round_)), mp_context=context) as pool:
            futures = {pool.submit(read, source): source for source in round_}
            try:
                for future in as_completed(futures):
                    try:
                        outcome: FileScores | Exception = future.result()
                    except (InvalidScoreError, OSError) as error:
                        outcome = error
                    yield futures[future], outcome
            except BrokenProcessPool as error:
                raise CorpusError("a reading process died; is there enough memory? try fewer --workers") from error
            except (KeyboardInterrupt, GeneratorExit):
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _read_file(source: Source) -> FileScores:
    return FileScores.of(read_file(source.path, source.name, source.options))
