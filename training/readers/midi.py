"""Reads Standard MIDI Files with `music.midi`, as evaluation and serving do.

One reader for MIDI means that a file has the same voices, meter and length when a model is trained on it and when
one is evaluated on it. It is also exact to the tick, while music21 quantizes, and it is much faster.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from music.errors import InvalidScoreError
from music.midi import MAX_FILE_BYTES, read_smf, score_from_smf, split_sequences
from music.note_counts import NoteCounts
from music.score import Score
from training.readers.midi_staves import with_staves
from training.readers.reading import FileReadings, PlayedBar, Reading, ReadOptions


def read_midi_file(path: Path, name: str, options: ReadOptions) -> FileReadings:
    """Read the pieces of a Standard MIDI File: one, or as many as a file of format 2 has sequences.

    `options.parts` and `options.play_repeats` have no effect: tracks need no names, and MIDI has no repeats. If
    `options.by_staff` is set, the voices are the upper and the lower staff: see `with_staves`.

    Raises:
        InvalidScoreError: the file is not a MIDI file, or is damaged, holds no pitched note, or lasts too long.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        pieces = split_sequences(read_smf(file.read(MAX_FILE_BYTES + 1)))
    readings: list[Reading] = []
    skipped: dict[str, str] = {}
    for number, piece in enumerate(pieces, 1):
        label = name if len(pieces) == 1 else f"{name}#{number}"
        counts = NoteCounts()
        try:
            score = score_from_smf(piece, counts)
            bars: tuple[PlayedBar, ...] = ()
            if options.by_staff:
                score, bars = with_staves(piece, score)
            readings.append(Reading(label, _as_in_a_corpus(score, counts), counts, bars))
        except InvalidScoreError as error:
            if len(pieces) == 1:
                raise
            skipped[label] = str(error)
    if not readings:
        raise InvalidScoreError(f"none of its {len(pieces):,} sequences can be read; the first: {skipped[f'{name}#1']}")
    return FileReadings(readings, skipped)


def _as_in_a_corpus(score: Score, counts: NoteCounts) -> Score:
    """The score as a corpus holds it, with one meter, one tempo and one program; the others are counted.

    If the meter changes, it is unknown, because no single meter fits.
    """
    changes, others = len(score.meter_changes), sum(program != score.program for program in score.programs)
    counts.other.update(+Counter(meter_changes=changes, tempo_changes=len(score.tempo_changes), other_programs=others))
    if changes:
        score = replace(score, meter=None, pickup_ticks=0, meter_changes=())
    return replace(score, tempo_changes=(), programs=())
