"""What a tokenizer keeps of music: scores to tokens, to a MIDI file, and back."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from music.midi import read_midi, write_midi
from music.score import Note, Score
from music.tokenizers import Tokenizer


@dataclass(slots=True)
class RoundTrip:
    """Totals over some pieces. A note survives if one of its onset, duration and pitch comes back."""

    pieces: int = 0
    tokens: int = 0
    notes: int = 0
    survived: int = 0
    struck: int = 0
    """Notes at whose onset their pitch comes back, whatever its duration."""
    on_grid: int = 0
    """Notes that begin and end on the tokenizer's grid."""
    on_grid_survived: int = 0
    on_grid_struck: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """Notes that the tokenizer left out or moved, by reason."""


def round_trip(tokenizer: Tokenizer, scores: Iterable[Score]) -> RoundTrip:
    """Write every score as tokens, the tokens as a MIDI file, and compare what is read from that with the score."""
    result = RoundTrip()
    for score in scores:
        encoding = tokenizer.encode(score)
        # Without its meter: a pickup of triplets has no time signature, and notes do not need one.
        decoded = replace(tokenizer.decode(encoding.tokens), meter=None, pickup_ticks=0)
        heard = read_midi(write_midi(decoded)).notes if decoded.notes else ()
        on_grid = [n for n in score.notes if n.onset % tokenizer.step_ticks == n.end % tokenizer.step_ticks == 0]
        sounds, keys = _sounds(heard), {(note.onset, note.pitch) for note in heard}
        result.pieces += 1
        result.tokens += len(encoding.tokens)
        result.notes += len(score.notes)
        result.survived += (_sounds(score.notes) & sounds).total()
        result.struck += sum((note.onset, note.pitch) in keys for note in score.notes)
        result.on_grid += len(on_grid)
        result.on_grid_survived += (_sounds(on_grid) & sounds).total()
        result.on_grid_struck += sum((note.onset, note.pitch) in keys for note in on_grid)
        result.dropped.update(encoding.dropped)
    return result


def _sounds(notes: Iterable[Note]) -> Counter[tuple[int, int, int]]:
    return Counter((note.onset, note.duration, note.pitch) for note in notes)
