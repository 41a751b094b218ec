"""A corpus of scores in one array file. Training reads it without music21."""

import io
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from music.score import Meter, Note, Score
from report.files import replace_file
from training.corpus.provenance import Origin
from training.errors import CorpusError

FORMAT_VERSION: Final = 1
_UNKNOWN_KEY: Final = 99
_COLUMNS_WITHOUT_DYNAMICS: Final = 7
"""Columns of the headers of files that do not say which scores have dynamics: those have in which velocities differ."""


class Split(IntEnum):
    """The split that a piece is in."""

    TRAIN = 0
    VALID = 1
    TEST = 2


@dataclass(frozen=True, slots=True)
class Piece:
    """A score with its name and its split."""

    name: str
    split: Split
    score: Score


@dataclass(frozen=True, slots=True)
class CompactScore:
    """A score as two small arrays, for the array file and for messages between processes."""

    notes: NDArray[np.int32]
    """(notes, 5): onset, duration, pitch, velocity, voice."""
    header: tuple[int, int, int, int, float, int, int, int]
    """length_ticks, meter numerator and denominator (0 where unknown), pickup_ticks, tempo_bpm, key, program,
    has_dynamics (0 or 1)."""

    @classmethod
    def of(cls, score: Score) -> "CompactScore":
        """Pack a score."""
        meter = (score.meter.numerator, score.meter.denominator) if score.meter else (0, 0)
        key = _UNKNOWN_KEY if score.key_sharps is None else score.key_sharps
        notes = np.array(score.notes, np.int32).reshape(-1, 5)
        others = score.pickup_ticks, score.tempo_bpm, key, score.program, int(score.has_dynamics)
        return cls(notes, (score.length_ticks, *meter, *others))

    def score(self) -> Score:
        """Unpack it."""
        length, numerator, denominator, pickup, tempo, key, program, has_dynamics = self.header
        return Score(
            notes=tuple(Note(*row) for row in self.notes.tolist()),
            length_ticks=int(length),
            meter=Meter(int(numerator), int(denominator)) if numerator else None,
            pickup_ticks=int(pickup),
            tempo_bpm=float(tempo),
            key_sharps=None if key == _UNKNOWN_KEY else int(key),
            program=int(program),
            has_dynamics=bool(has_dynamics),
        )


class Corpus:
    """Pieces packed into arrays; iterate to get `Piece`s, in the order of their names."""

    def __init__(
        self,
        names: list[str],
        splits: NDArray[np.uint8],
        scores: list[CompactScore],
        source: str,
        origin: Origin | None = None,
    ) -> None:
        self.source = source
        """One sentence about the content."""
        self.origin = origin
        """The folder that it was read from; None for a built-in corpus or a file of an earlier version."""
        self._names = names
        self._splits = splits
        self._scores = scores

    def __len__(self) -> int:
        return len(self._names)

    def pieces(self, split: Split | None = None) -> Iterable[Piece]:
        """The pieces of one split, or all pieces."""
        for name, side, packed in zip(self._names, self._splits, self._scores, strict=True):
            if split is None or side == split:
                yield Piece(name, Split(int(side)), packed.score())

    def sample(self, split: Split, max_pieces: int) -> Iterable[Piece]:
        """At most `max_pieces` pieces of one split, evenly spaced in the order of names."""
        places = np.flatnonzero(self._splits == split)
        for index in places[:: max(1, -(-len(places) // max_pieces))].tolist():
            yield Piece(self._names[index], split, self._scores[index].score())

    def notes(self, split: Split) -> int:
        """Number of notes in one split."""
        return sum(len(self._scores[index].notes) for index in np.flatnonzero(self._splits == split).tolist())

    @property
    def note_count(self) -> int:
        """Number of notes in all pieces."""
        return sum(len(packed.notes) for packed in self._scores)

    def count(self, split: Split) -> int:
        """Number of pieces in one split."""
        return int((self._splits == split).sum())

    def save(self, path: Path) -> None:
        """Write the array file atomically.

        Raises:
            CorpusError: the file cannot be written.
        """
        packed_file = io.BytesIO()
        metadata: dict[str, Any] = {"format_version": FORMAT_VERSION, "source": self.source}
        if self.origin is not None:
            metadata["origin"] = self.origin.as_entry()
        np.savez_compressed(
            packed_file,
            about=np.array(json.dumps(metadata)),
            names=np.array(self._names, dtype=np.str_),
            splits=self._splits,
            note_offsets=np.cumsum([0, *(len(packed.notes) for packed in self._scores)]),
            notes=np.concatenate([packed.notes for packed in self._scores]),
            headers=np.array([packed.header for packed in self._scores], np.float64),
        )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, packed_file.getvalue())
        except OSError as error:
            raise CorpusError(f"cannot write {path}: {error.strerror or error}") from error

    @classmethod
    def load(cls, path: Path) -> "Corpus":
        """Read an array file.

        Raises:
            CorpusError: the file is missing, damaged, or of another format version.
        """
        with _open_arrays(path) as (metadata, file):
            names, splits, offsets = file["names"].tolist(), file["splits"], file["note_offsets"]
            notes, headers = file["notes"], file["headers"]
        pieces = [notes[first:last] for first, last in pairwise(offsets.tolist())]
        if headers.shape[1] == _COLUMNS_WITHOUT_DYNAMICS:
            headers = np.column_stack([headers, [len(np.unique(piece[:, 3])) > 1 for piece in pieces]])
        scores = [CompactScore(*packed) for packed in zip(pieces, map(tuple, headers.tolist()), strict=True)]
        return cls(names, splits, scores, metadata.source, metadata.origin)


@dataclass(frozen=True, slots=True)
class CorpusMetadata:
    """Description of an array file."""

    source: str
    """One sentence about the content."""
    origin: Origin | None
    """The folder that it was read from."""


def read_metadata(path: Path) -> CorpusMetadata:
    """Read the description of an array file without its pieces.

    Raises:
        CorpusError: the file is missing, damaged, or of another format version.
    """
    with _open_arrays(path) as (metadata, _):
        return metadata


@contextmanager
def _open_arrays(path: Path) -> Iterator[tuple[CorpusMetadata, Any]]:
    """The description of an array file and its arrays, which are read on access."""
    try:
        # Opened here, since NumPy leaves a file open that is not an archive.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            entries = dict(json.loads(str(file["about"])))
            if entries.get("format_version") != FORMAT_VERSION:
                raise CorpusError(f"{path} has corpus format {entries.get('format_version')}; this is {FORMAT_VERSION}")
            yield CorpusMetadata(str(entries["source"]), Origin.from_entry(entries.get("origin"))), file
    except FileNotFoundError as error:
        raise CorpusError(f"there is no corpus at {path}; make one with `python -m training prepare`") from error
    except (OSError, ValueError, KeyError, EOFError, AttributeError, TypeError, BadZipFile, zlib.error) as error:
        raise CorpusError(f"{path} is not a corpus written by `python -m training prepare`: {error}") from error
