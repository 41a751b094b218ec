"""`prepare`: read a corpus in parallel, split it by piece, store it as one array file."""

import hashlib
import json
import multiprocessing
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import numpy as np
from tqdm import tqdm

from music.errors import InvalidScoreError
from training.corpus import CompactScore, Corpus, Split
from training.errors import CorpusError
from training.readers import CHORALE_PARTS, SUFFIXES, printable, read_scores

_HELD_OUT_FRACTION = 0.1


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read, under the name by which it is known and split."""

    name: str
    path: Path
    parts: tuple[str, ...] | None = None


@dataclass(slots=True)
class Report:
    """What became of the files."""

    read: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    """Reason by file name."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Notes that a score cannot hold, by reason."""


def chorale_sources() -> tuple[list[Source], dict[str, Split]]:
    """music21's bundled Bach chorales and the canonical split; files named nowhere are for training."""
    from music21 import corpus

    split_lists = json.loads(resources.files("training").joinpath("chorale_split.json").read_text())
    splits = {name: side for side in Split for name in split_lists[side.name.lower()]}
    never = set(split_lists["never_train"])
    folder = Path(corpus.__file__).parent / "bach"
    paths = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and path.name not in never)
    sources = [Source(path.name, path, CHORALE_PARTS) for path in paths]
    return sources, {source.name: splits.get(source.name, Split.TRAIN) for source in sources}


def folder_sources(folder: Path) -> list[Source]:
    """Every score file under a folder, by its path inside it.

    Raises:
        CorpusError: there is no such folder, or no score file in it.
    """
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
    if len(names) < 3:
        raise CorpusError(
            f"too small to split by piece into train, valid and test: 3 readable files are the least, not {len(names)}"
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
    report = Report()
    scores: dict[str, CompactScore] = {}
    files: dict[str, str] = {}
    context = multiprocessing.get_context("spawn")  # forking a process that has threads is asking for trouble
    with ProcessPoolExecutor(min(workers, len(sources)), mp_context=context, max_tasks_per_child=200) as pool:
        futures = {pool.submit(_read_packed, source): source for source in sources}
        try:
            for future in tqdm(
                as_completed(futures), total=len(futures), unit="file", desc="reading", disable=not progress
            ):
                source = futures[future]
                try:
                    readings = future.result()
                except (InvalidScoreError, OSError) as error:
                    report.skipped[source.name] = str(error)
                    continue
                report.read += 1
                for name, packed, dropped in readings:
                    scores[name] = packed
                    files[name] = source.name
                    report.dropped.update(dropped)
        except BrokenProcessPool as error:
            raise CorpusError("a reading process died; is there enough memory? try fewer --workers") from error
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if not scores:
        reasons = "; ".join(f"{name}: {why}" for name, why in sorted(report.skipped.items())[:3])
        raise CorpusError(f"none of {len(sources)} files could be read ({reasons})")
    names = sorted(scores)
    sides = split_by_piece(files) if splits is None else splits
    corpus = Corpus(
        names, np.array([sides[name] for name in names], np.uint8), [scores[name] for name in names], description
    )
    return corpus, report


def _read_packed(source: Source) -> list[tuple[str, CompactScore, Counter[str]]]:
    readings = read_scores(source.path, source.name, source.parts)
    return [(reading.name, CompactScore.of(reading.score), reading.dropped) for reading in readings]
