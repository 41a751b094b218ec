"""Tune books in ABC notation (ABC 2.1). A tune that cannot be read does not affect the others."""

from pathlib import Path

from music.errors import InvalidScoreError
from training.readers.abc.book import split_book
from training.readers.abc.score import written_score
from training.readers.abc.tune import parse_tune
from training.readers.files import read_bytes
from training.readers.performance import play_score
from training.readers.reading import FileReadings, Reading, ReadOptions

__all__ = ["read_abc_file"]


def read_abc_file(path: Path, name: str, options: ReadOptions) -> FileReadings:
    """Read every tune of an ABC file. A tune of a book is named `name#number`, by its `X:` field.

    Raises:
        InvalidScoreError: no tune of the file can be read, or the file is too large.
        OSError: the file cannot be opened.
    """
    tunes = split_book(read_bytes(path))
    readings: list[Reading] = []
    skipped: dict[str, str] = {}
    for tune in tunes:
        label = name if len(tunes) == 1 else f"{name}#{tune.label}"
        try:
            written = written_score(parse_tune(tune), play_repeats=options.play_repeats)
            readings.append(play_score(written, label, options))
        except InvalidScoreError as error:
            skipped[label] = str(error)
    if not readings:
        reason = next(iter(skipped.values()))
        raise InvalidScoreError(reason if len(tunes) == 1 else f"none of {len(tunes)} tunes: {reason}")
    return FileReadings(readings, skipped)
