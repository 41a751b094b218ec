"""Standard MIDI Files, by the reader that evaluation and serving use too.

One reader for MIDI means that a file has the same voices, meter and length when a model is trained on it and when
one is evaluated on it. It is also exact to the tick where music21 quantizes, and much faster.
"""

from pathlib import Path

from music.errors import InvalidScoreError
from music.midi import MAX_FILE_BYTES, read_smf, score_of, sequences
from music.note_counts import NoteCounts
from training.readers.reading import FileReadings, Reading, ReadOptions


def read_midi_file(path: Path, name: str, options: ReadOptions) -> FileReadings:
    """Read the pieces of a Standard MIDI File: one, or as many as a file of format 2 has sequences.

    `options.parts` is not looked at, since tracks need no names, nor is `options.play_repeats`, since MIDI has none.

    Raises:
        InvalidScoreError: the file is no MIDI file or a damaged one, holds no pitched note, or lasts too long.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        pieces = sequences(read_smf(file.read(MAX_FILE_BYTES + 1)))
    readings: list[Reading] = []
    skipped: dict[str, str] = {}
    for number, piece in enumerate(pieces, 1):
        label = name if len(pieces) == 1 else f"{name}#{number}"
        counts = NoteCounts()
        try:
            readings.append(Reading(label, score_of(piece, counts), counts))
        except InvalidScoreError as error:
            if len(pieces) == 1:
                raise
            skipped[label] = str(error)
    if not readings:
        raise InvalidScoreError(
            f"none of its {len(pieces):,} sequences can be read, the first since {skipped[f'{name}#1']}"
        )
    return FileReadings(readings, skipped)
