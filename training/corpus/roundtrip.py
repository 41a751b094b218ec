"""Round trip of scores through a tokenizer and a MIDI file: the share of notes that survives."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from music.midi import read_midi, write_midi
from music.score import Note, Score
from music.tokenizers import Tokenizer


@dataclass(slots=True)
class RoundTrip:
    """Totals over pieces. A note survives if the result has a note of the same onset, duration and pitch."""

    pieces: int = 0
    tokens: int = 0
    notes: int = 0
    survived: int = 0
    onset_survived: int = 0
    """Notes for which the result has a note of the same onset and pitch, of any duration."""
    on_grid: int = 0
    """Notes whose onset and end are on the tokenizer's grid."""
    on_grid_survived: int = 0
    on_grid_onset_survived: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """Notes that the tokenizer dropped or moved, by reason."""


def round_trip(tokenizer: Tokenizer, scores: Iterable[Score]) -> RoundTrip:
    """Encode every score, write the tokens as MIDI, read the MIDI and compare it with the score."""
    result = RoundTrip()
    for score in scores:
        encoding = tokenizer.encode(score)
        # Without the meter: no time signature can express a pickup of triplets, and notes do not need one.
        decoded = replace(tokenizer.decode(encoding.tokens), meter=None, pickup_ticks=0)
        result_notes = read_midi(write_midi(decoded)).notes if decoded.notes else ()
        on_grid = [n for n in score.notes if n.onset % tokenizer.step_ticks == n.end % tokenizer.step_ticks == 0]
        notes, onsets = _note_counts(result_notes), {(note.onset, note.pitch) for note in result_notes}
        result.pieces += 1
        result.tokens += len(encoding.tokens)
        result.notes += len(score.notes)
        result.survived += (_note_counts(score.notes) & notes).total()
        result.onset_survived += sum((note.onset, note.pitch) in onsets for note in score.notes)
        result.on_grid += len(on_grid)
        result.on_grid_survived += (_note_counts(on_grid) & notes).total()
        result.on_grid_onset_survived += sum((note.onset, note.pitch) in onsets for note in on_grid)
        result.dropped.update(encoding.dropped)
    return result


def _note_counts(notes: Iterable[Note]) -> Counter[tuple[int, int, int]]:
    return Counter((note.onset, note.duration, note.pitch) for note in notes)
