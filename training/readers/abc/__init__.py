"""Tune books in ABC notation (ABC 2.1), read tune by tune: one bad tune costs itself alone."""

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Final

from music.errors import InvalidScoreError
from music.note_counts import NoteCounts
from music.score import IN_ORDER, TICKS_PER_QUARTER, Meter, Note, Score, require_length
from training.readers.abc.bars import Marks
from training.readers.abc.book import split_book
from training.readers.abc.layout import LaidNote, lay_out
from training.readers.abc.repeats import played_order
from training.readers.abc.tune import ParsedTune, parse_tune
from training.readers.abc.voice import Voice
from training.readers.files import read_bytes
from training.readers.reading import FileReadings, Reading, ReadOptions

_TICKS_PER_WHOLE: Final = 4 * TICKS_PER_QUARTER
_TEMPO_BPM: Final = 100.0
_SLOWEST, _FASTEST = 10.0, 400.0

__all__ = ["read_abc_file"]


def read_abc_file(path: Path, name: str, options: ReadOptions) -> FileReadings:
    """Read every tune of an ABC file; a tune of a book is known as `name#number`, by its `X:` field.

    Repeats, endings, parts and jumps are played out with `options.play_repeats`. With `options.parts` given, the
    voices whose names begin so become the voices, in that order. Otherwise the highest (by mean pitch) is first.

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
            readings.append(_read(parse_tune(tune), label, options))
        except InvalidScoreError as error:
            skipped[label] = str(error)
    if not readings:
        reason = next(iter(skipped.values()))
        raise InvalidScoreError(reason if len(tunes) == 1 else f"none of {len(tunes)} tunes: {reason}")
    return FileReadings(readings, skipped)


def _read(tune: ParsedTune, name: str, options: ReadOptions) -> Reading:
    voices = list(tune.voices.values())
    chosen = _named(voices, options.parts) if options.parts is not None else voices
    bars = max((len(voice.bars) for voice in voices), default=0)
    marks = [_merged(voices, index) for index in range(bars)]
    written = range(bars)
    order = played_order(marks, tune.part_order) if options.play_repeats else written
    lengths = [max(voice.bars[index].length for voice in voices if index < len(voice.bars)) for index in written]
    length = _ticks(sum((lengths[index] for index in order), Fraction(0)))
    require_length(length)

    counts = NoteCounts(other=+tune.other)
    counts.struck = sum(voice.struck for voice in voices)
    for bar in (bar for voice in voices for bar in voice.bars):
        counts.left_out.update(bar.left_out)
    played = set(order)
    lines = []
    for voice in chosen:
        once = Counter(note.bar for note in lay_out(voice, written, lengths))
        unplayed = sum(number for index, number in once.items() if index not in played)
        line = lay_out(voice, order, lengths)
        counts.left_out["not_played"] += unplayed
        counts.repeated += len(line) - (once.total() - unplayed)
        lines.append(line)
    for voice in voices:
        if not any(voice is other for other in chosen):
            counts.left_out["other_parts"] += len(lay_out(voice, written, lengths))
    if options.parts is None:
        lines = [line for line in lines if line]
        lines.sort(key=lambda line: -sum(note.pitch for note in line) / len(line))
    notes = sorted((_note(note, index) for index, line in enumerate(lines) for note in line), key=IN_ORDER)
    if not notes:
        raise InvalidScoreError("no pitched note in it")
    counts.kept = len(notes)
    counts.left_out = +counts.left_out
    meter, changes = _meter(voices)
    counts.other["meter_changes"] += changes
    counts.other = +counts.other
    pickup = _ticks(lengths[order[0]])
    tempo = tune.tempo_bpm
    score = Score(
        notes=tuple(notes),
        length_ticks=max(length, *(note.end for note in notes)),
        meter=meter,
        pickup_ticks=pickup if meter is not None and len(order) > 1 and pickup < meter.bar_ticks else 0,
        tempo_bpm=tempo if tempo is not None and _SLOWEST <= tempo <= _FASTEST else _TEMPO_BPM,
        key_sharps=_key(voices[0]),
        program=tune.program,
    )
    return Reading(name, score, counts)


def _note(note: LaidNote, voice: int) -> Note:
    onset = _ticks(note.begin)
    return Note(onset, max(_ticks(note.end) - onset, 1), note.pitch, voice=voice)


def _merged(voices: Sequence[Voice], index: int) -> Marks:
    """What all voices say of the order at a bar: a voice may leave signs out that another one has."""
    marks = Marks()
    for voice in voices:
        if index < len(voice.bars):
            marks.merge(voice.bars[index].marks)
    return marks


def _named(voices: Sequence[Voice], names: tuple[str, ...]) -> list[Voice]:
    found = (next((voice for voice in voices if voice.name.startswith(name)), None) for name in names)
    chosen = [voice for voice in found if voice is not None]
    if len(chosen) < len(names):
        raise InvalidScoreError(f"has no parts called {', '.join(names)}")
    return chosen


def _meter(voices: Sequence[Voice]) -> tuple[Meter | None, int]:
    """The meter, where it is one and the same, and how often it changes."""
    meters = [[bar.meter for bar in voice.bars] for voice in voices]
    changes = max(sum(first != second for first, second in pairwise(own)) for own in meters)
    different = {meter for own in meters for meter in own}
    if len(different) != 1:
        return None, changes
    (meter,) = different
    try:
        return (Meter(meter.numerator, meter.denominator) if meter.numerator else None), changes
    except InvalidScoreError:
        return None, changes


def _key(voice: Voice) -> int | None:
    """Sharps of the key as it sounds."""
    sharps, semitones = voice.first_key.sharps, voice.sound.semitones + voice.midi_transpose
    if sharps is None or semitones % 12 == 0:
        return sharps
    return (sharps + 7 * semitones + 6) % 12 - 6


def _ticks(whole_notes: Fraction) -> int:
    return round(whole_notes * _TICKS_PER_WHOLE)
