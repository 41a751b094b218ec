"""A corpus of scores in one array file, which training reads without music21."""

import io
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from music.score import Meter, Note, Score
from training.errors import CorpusError
from training.files import replace_file
from training.origin import Origin

FORMAT_VERSION: Final = 1
_UNKNOWN_KEY: Final = 99


class Split(IntEnum):
    """What a piece may be used for."""

    TRAIN = 0
    VALID = 1
    TEST = 2


@dataclass(frozen=True, slots=True)
class Piece:
    """One score with its name and its side of the split."""

    name: str
    split: Split
    score: Score


@dataclass(frozen=True, slots=True)
class CompactScore:
    """A score as two small arrays: what processes hand each other and the cache stores."""

    notes: NDArray[np.int32]
    """(notes, 5): onset, duration, pitch, velocity, voice."""
    header: tuple[int, int, int, int, float, int, int]
    """length_ticks, meter numerator and denominator (0 where unknown), pickup_ticks, tempo_bpm, key, program."""

    @classmethod
    def of(cls, score: Score) -> "CompactScore":
        """Pack a score."""
        meter = (score.meter.numerator, score.meter.denominator) if score.meter else (0, 0)
        key = _UNKNOWN_KEY if score.key_sharps is None else score.key_sharps
        notes = np.array(score.notes, np.int32).reshape(-1, 5)
        return cls(notes, (score.length_ticks, *meter, score.pickup_ticks, score.tempo_bpm, key, score.program))

    def score(self) -> Score:
        """Unpack it."""
        length, numerator, denominator, pickup, tempo, key, program = self.header
        return Score(
            notes=tuple(Note(*row) for row in self.notes.tolist()),
            length_ticks=int(length),
            meter=Meter(int(numerator), int(denominator)) if numerator else None,
            pickup_ticks=int(pickup),
            tempo_bpm=float(tempo),
            key_sharps=None if key == _UNKNOWN_KEY else int(key),
            program=int(program),
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
        """What it holds, as a sentence."""
        self.origin = origin
        """Folder that it was read from; None where it came with Fantasia, or an earlier version wrote it."""
        self._names = names
        self._splits = splits
        self._scores = scores

    def __len__(self) -> int:
        return len(self._names)

    def pieces(self, split: Split | None = None) -> Iterable[Piece]:
        """The pieces of one side of the split, or all."""
        for name, side, packed in zip(self._names, self._splits, self._scores, strict=True):
            if split is None or side == split:
                yield Piece(name, Split(int(side)), packed.score())

    def sample(self, split: Split, most: int) -> Iterable[Piece]:
        """At most so many pieces of one side, evenly from the first name to the last."""
        places = np.flatnonzero(self._splits == split)
        for index in places[:: max(1, -(-len(places) // most))].tolist():
            yield Piece(self._names[index], split, self._scores[index].score())

    def notes(self, split: Split) -> int:
        """Notes of one side of the split."""
        return sum(len(self._scores[index].notes) for index in np.flatnonzero(self._splits == split).tolist())

    @property
    def note_count(self) -> int:
        """Notes in all pieces."""
        return sum(len(packed.notes) for packed in self._scores)

    def count(self, split: Split) -> int:
        """Pieces on one side of the split."""
        return int((self._splits == split).sum())

    def save(self, path: Path) -> None:
        """Write the array file, whole or not at all.

        Raises:
            CorpusError: it cannot be written, as on a full disk.
        """
        packed_file = io.BytesIO()
        about: dict[str, Any] = {"format_version": FORMAT_VERSION, "source": self.source}
        if self.origin is not None:
            about["origin"] = self.origin.as_entry()
        np.savez_compressed(
            packed_file,
            about=np.array(json.dumps(about)),
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
        with _opened(path) as (about, file):
            names, splits, offsets = file["names"].tolist(), file["splits"], file["note_offsets"]
            notes, headers = file["notes"], file["headers"]
        scores = [
            CompactScore(notes[first:last], tuple(header))
            for first, last, header in zip(offsets[:-1], offsets[1:], headers.tolist(), strict=True)
        ]
        return cls(names, splits, scores, about.source, about.origin)


@dataclass(frozen=True, slots=True)
class About:
    """What an array file says of itself."""

    source: str
    """What it holds, as a sentence."""
    origin: Origin | None
    """Folder that it was read from."""


def read_about(path: Path) -> About:
    """What an array file says of itself, without the time and memory that its pieces take.

    Raises:
        CorpusError: the file is missing, damaged, or of another format version.
    """
    with _opened(path) as (about, _):
        return about


@contextmanager
def _opened(path: Path) -> Iterator[tuple[About, Any]]:
    """An array file's description and its arrays, which are read as they are asked for."""
    try:
        # Opened here: NumPy leaves a file that is no archive open.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            entries = dict(json.loads(str(file["about"])))
            if entries.get("format_version") != FORMAT_VERSION:
                raise CorpusError(f"{path} has corpus format {entries.get('format_version')}; this is {FORMAT_VERSION}")
            yield About(str(entries["source"]), Origin.from_entry(entries.get("origin"))), file
    except FileNotFoundError as error:
        raise CorpusError(f"there is no corpus at {path}; make one with `python -m training prepare`") from error
    except (OSError, ValueError, KeyError, EOFError, AttributeError, TypeError, BadZipFile, zlib.error) as error:
        raise CorpusError(f"{path} is no corpus that `python -m training prepare` wrote: {error}") from error
