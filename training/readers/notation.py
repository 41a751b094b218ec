"""Files that music21 reads as a whole."""

import warnings
from pathlib import Path

from music.errors import InvalidScoreError
from training.readers.music21_score import written_score
from training.readers.reading import FileReadings, ReadOptions
from training.readers.written import reading_of


def read_notation_file(path: Path, name: str, options: ReadOptions) -> FileReadings:
    """Read every score of a file; most files hold one.

    Raises:
        InvalidScoreError: the file cannot be read, no score in it holds a pitched note, or one lasts too long.
    """
    from music21 import converter, stream  # slow to import, and only the readers need it

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parsed = converter.parse(path, forceSource=True)
            streams = list(parsed.scores) if isinstance(parsed, stream.Opus) else [parsed]
            readings = []
            for index, item in enumerate(streams):
                label = name if len(streams) == 1 else f"{name}#{index + 1}"
                readings.append(reading_of(written_score(item), label, options))
    except InvalidScoreError:
        raise
    except Exception as error:  # music21 raises whatever its parsers meet
        raise InvalidScoreError(f"{type(error).__name__}: {error}".splitlines()[0]) from error
    readings = [reading for reading in readings if reading.score.notes]
    if not readings:
        raise InvalidScoreError("no pitched note in it")
    return FileReadings(readings)
