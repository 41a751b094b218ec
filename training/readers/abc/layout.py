"""From bars to notes in time."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from training.readers.abc.voice import Voice


@dataclass(slots=True)
class LaidNote:
    """A note with its ties joined, in whole notes from the beginning of the piece."""

    bar: int
    """Index of the bar in which it begins, as written."""
    begin: Fraction
    end: Fraction
    pitch: int


def lay_out(voice: Voice, order: Sequence[int], lengths: Sequence[Fraction]) -> list[LaidNote]:
    """Notes of a voice, its bars played in an order.

    Args:
        voice: bars as written; one that has fewer than others is silent in the rest.
        order: indices of bars.
        lengths: of every bar, the longest of all voices, so that voices stay together where one does not add up.
    """
    notes: list[LaidNote] = []
    tied: dict[tuple[str, int], tuple[LaidNote, Fraction]] = {}
    begin = own = Fraction(0)  # `own`: in the voice's own time, which tells whether a tie leads to the next note
    for index in order:
        if index < len(voice.bars):
            bar = voice.bars[index]
            for tone in bar.tones:
                before, until = tied.pop(tone.place, (None, Fraction(0)))
                if before is not None and until == own + tone.offset and before.pitch == tone.pitch:
                    note = before
                    note.end = begin + tone.end
                else:
                    note = LaidNote(index, begin + tone.offset, begin + tone.end, tone.pitch)
                    notes.append(note)
                if tone.tied:
                    tied[tone.place] = (note, own + tone.end)
            own += bar.length
        begin += lengths[index]
    return notes
