"""Converts a parsed tune to a `WrittenScore`."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from training.readers.abc.bars import Bar, Marks
from training.readers.abc.order import parts_order, shared_marks
from training.readers.abc.tune import ParsedTune
from training.readers.abc.voice import Voice
from training.readers.written import WrittenBar, WrittenNote, WrittenPart, WrittenScore

_QUARTERS: Final = 4  # in a whole note, which ABC counts in


def written_score(tune: ParsedTune, *, play_repeats: bool) -> WrittenScore:
    """Align the bars of all voices: bars of one index start together and last as long as the longest one.

    Args:
        tune: what was parsed.
        play_repeats: whether parts are to be played in their order; those that are not in it are left out then.
    """
    voices = list(tune.voices.values())
    marks = [_merged(voices, index) for index in range(max((len(voice.bars) for voice in voices), default=0))]
    lengths = [
        _QUARTERS * max(voice.bars[index].length for voice in voices if index < len(voice.bars))
        for index in range(len(marks))
    ]
    shared = shared_marks(marks)
    order = parts_order(marks, shared, tune.part_order) if play_repeats else None
    kept = list(range(len(marks))) if order is None else sorted(set(order))
    places = {index: place for place, index in enumerate(kept)}
    unread = sum(_count_notes(bar) for voice in voices for index, bar in enumerate(voice.bars) if index not in places)
    return WrittenScore(
        parts=[
            WrittenPart(
                voice.name,
                [_bar(voice.bars[index]) if index < len(voice.bars) else WrittenBar() for index in kept],
                meters=[(bar.meter.numerator, bar.meter.denominator) for bar in voice.bars],
                keys=_keys(voice),
                program=tune.program,
            )
            for voice in voices
        ],
        lengths=[lengths[index] for index in kept],
        marks=[shared[index] for index in kept],
        tempos=tune.tempos,
        other=Counter(tune.other),
        unread=+Counter(not_played=unread),
        order=None if order is None else [places[index] for index in order],
    )


def _bar(bar: Bar) -> WrittenBar:
    notes = [
        WrittenNote(
            _QUARTERS * tone.offset,
            _QUARTERS * tone.length,
            tone.pitch,
            ends_tie=tone.ends_tie,
            starts_tie=tone.tied,
        )
        for tone in bar.tones
    ]
    return WrittenBar(notes, bar.note_heads, Counter(bar.left_out))


def _count_notes(bar: Bar) -> int:
    """Notes of a bar without tied continuations."""
    return bar.note_heads - sum(tone.ends_tie for tone in bar.tones)


def _merged(voices: Sequence[Voice], index: int) -> Marks:
    """Merge the signs of all voices at a bar; a voice may omit signs that another voice has."""
    marks = Marks()
    for voice in voices:
        if index < len(voice.bars):
            marks.merge(voice.bars[index].marks)
    return marks


def _keys(voice: Voice) -> list[int | None]:
    """Sharps of every key, at sounding pitch."""
    semitones = voice.transposition.semitones + voice.midi_transpose
    if semitones % 12 == 0:
        return [key.sharps for key in voice.keys]
    return [None if key.sharps is None else (key.sharps + 7 * semitones + 6) % 12 - 6 for key in voice.keys]
