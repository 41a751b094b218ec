"""Reads the dance tunes of the `folk` corpus from ABC: monophonic, on a grid of 16ths, aligned to bars.

The parts of a dance tune are repeated, often with a first and a second ending, and a part may begin with a pickup that
the bar before it does not leave room for. Here every part occurs once, with its last ending, and every whole bar starts
a whole number of bars after the pickup, so that metrical positions are right.

The tunes are parsed with music21 and not with `training.readers.abc`, since the shipped folk model was trained on them.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from music.errors import InvalidScoreError
from music.note_counts import NoteCounts
from music.score import TICKS_PER_QUARTER, Meter, Note, Score
from training.readers.abc.book import split_book
from training.readers.reading import FileReadings, Reading

STEP_TICKS: Final = TICKS_PER_QUARTER // 4
METERS: Final = (Meter(2, 2), Meter(6, 8), Meter(4, 4), Meter(3, 4), Meter(9, 8))
"""Meters of the tunes that are used. Every other meter has too few tunes to learn from."""

_MIN_BARS: Final = 4
_MAX_MOVED: Final = 0.25
_TEMPO_BPM: Final = 180.0
_BAD_BARS: Final = "bars that do not add up"


@dataclass(frozen=True, slots=True)
class Tone:
    """A note inside its bar, in ticks. `tied`: a tie joins it to the note before."""

    onset: int
    duration: int
    pitch: int
    tied: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar. `starts_part` and `ends_part`: whether its bar lines are double bar lines or repeat signs."""

    ticks: int
    tones: tuple[Tone, ...]
    starts_part: bool = False
    ends_part: bool = False


def read_tunes(path: Path, name: str) -> FileReadings:
    """Read every tune of an ABC file with music21. A tune is named `name#number`.

    Grace notes (`grace`), lower notes of chords (`chord`) and endings before the last one (`earlier_ending`) are left
    out. Notes that `quantize` moves are counted as changed (`off_grid`). Chord symbols are counted separately.

    Raises:
        InvalidScoreError: the file is not ABC.
        OSError: the file cannot be read.
    """
    from music21 import abcFormat  # slow to import
    from music21.abcFormat.translate import abcToStreamScore

    text = path.read_text(encoding="utf-8", errors="replace")
    readings: list[Reading] = []
    skipped: dict[str, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tunes: dict[Any, Any] = abcFormat.ABCFile().readstr(text).splitByReferenceNumber()
        except Exception as error:  # music21's parsers raise anything
            tunes = _read_one_by_one(text, name, skipped)
            if not tunes:
                raise InvalidScoreError(f"{type(error).__name__}: {error}".splitlines()[0]) from error
        for number, handler in sorted(tunes.items(), key=lambda item: item[0] or 0):
            label = f"{name}#{number or 0}"
            try:
                readings.append(_read(abcToStreamScore(handler), label))
            except InvalidScoreError as error:
                skipped[label] = str(error)
            except Exception as error:
                skipped[label] = f"music21 cannot read it ({type(error).__name__})"
    return FileReadings(readings, skipped)


def _read_one_by_one(text: str, name: str, skipped: dict[str, str]) -> dict[int, Any]:
    """music21's handlers of the tunes that it can read, by number; other tunes are added to `skipped`."""
    from music21 import abcFormat

    try:
        tunes = split_book(text.encode())
    except InvalidScoreError:
        return {}
    handlers: dict[int, Any] = {}
    for tune in tunes:
        text = "\n".join(line.text for line in (*tune.file_header, *tune.lines))
        try:
            handlers[int(tune.label)] = abcFormat.ABCFile().readstr(text)
        except Exception as error:  # music21's parsers raise anything
            skipped[f"{name}#{tune.label}"] = f"music21 cannot read it ({type(error).__name__})"
    return handlers


def join_bars(bars: Sequence[Bar], meter: Meter) -> tuple[list[Note], int, int]:
    """Join bars so that every whole bar starts on a bar line.

    A short first bar is the pickup. Two short bars that add up to a whole bar are its halves. A short bar that opens a
    part after a whole bar is a pickup; it shortens the note before it. A short bar that closes a part is filled with
    silence.

    Returns:
        The notes, the length in ticks, and the length of the pickup in ticks.

    Raises:
        InvalidScoreError: a bar is too long, or is short for another reason.
    """
    whole = meter.bar_ticks
    notes: list[Note] = []
    line = pickup = bars[0].ticks if bars[0].ticks < whole else 0  # `line`: where the next whole bar begins
    if pickup:
        _append(notes, bars[0], 0)
    index = 1 if pickup else 0
    while index < len(bars):
        bar = bars[index]
        following = bars[index + 1] if index + 1 < len(bars) else None
        starts_part = bar.starts_part or bars[index - 1].ends_part
        ends_part = bar.ends_part or (following is not None and following.starts_part)
        index += 1
        if bar.ticks == whole:
            _append(notes, bar, line)
            line += whole
        elif bar.ticks > whole:
            raise InvalidScoreError(_BAD_BARS)
        elif following is None:
            _append(notes, bar, line)
            line += bar.ticks
        elif bar.ticks + following.ticks == whole:
            _append(notes, bar, line)
            _append(notes, following, line + bar.ticks)
            line += whole
            index += 1
        elif starts_part and not ends_part:
            _append(notes, bar, line - bar.ticks)
        elif ends_part and not starts_part:
            _append(notes, bar, line)
            line += whole
        else:
            raise InvalidScoreError(_BAD_BARS)
    return notes, line, pickup


def quantize(notes: Sequence[Note]) -> tuple[list[Note], int]:
    """Move every onset and end down to the grid. Returns the notes and the number of notes that changed.

    A triplet of eighths becomes two 16ths and an eighth; a dotted 16th with a 32nd becomes two 16ths.

    Raises:
        InvalidScoreError: two notes would start together, or more than a quarter of the notes would change.
    """
    quantized = []
    for note in notes:
        onset, end = (time // STEP_TICKS * STEP_TICKS for time in (note.onset, note.end))
        quantized.append(note._replace(onset=onset, duration=end - onset))
    if any(not note.duration for note in quantized):
        raise InvalidScoreError("notes shorter than a 16th")
    moved = sum(before != after for before, after in zip(notes, quantized, strict=True))
    if moved > _MAX_MOVED * len(notes):
        raise InvalidScoreError("more than a quarter of the notes off the grid of 16ths")
    return quantized, moved


def with_doubled_values(score: Score) -> Score:
    """Rewrite a tune from 2/4 to 2/2 with all note values doubled, the more common notation of the same dances."""
    notes = tuple(note._replace(onset=2 * note.onset, duration=2 * note.duration) for note in score.notes)
    return replace(
        score,
        notes=notes,
        length_ticks=2 * score.length_ticks,
        pickup_ticks=2 * score.pickup_ticks,
        meter=Meter(2, 2),
    )


def _read(parsed: Any, name: str) -> Reading:
    parts = list(parsed.parts)
    if len(parts) != 1:
        raise InvalidScoreError("more than one voice")
    (part,) = parts
    meter = _meter(part)
    counts = NoteCounts()
    bars = [bar for bar in _last_endings(part, counts) if bar.ticks]
    counts.written += _count_onsets(bars)
    if len(bars) < _MIN_BARS:
        raise InvalidScoreError(f"fewer than {_MIN_BARS} bars")
    notes, length, pickup = join_bars(bars, meter)
    if not notes:
        raise InvalidScoreError("no pitched note in it")
    key = next((int(key.sharps) for key in part.recurse().getElementsByClass("KeySignature")), None)
    score = Score(tuple(notes), length, meter, pickup, _TEMPO_BPM, key, has_dynamics=False)
    if meter == Meter(2, 4):
        score = with_doubled_values(score)
    if score.meter not in METERS:
        raise InvalidScoreError("a rare meter")
    if score.pickup_ticks % STEP_TICKS:
        raise InvalidScoreError("a pickup off the grid of 16ths")
    quantized, moved = quantize(score.notes)
    if moved:
        counts.changed["off_grid"] += moved
    length = -(-score.length_ticks // STEP_TICKS) * STEP_TICKS
    counts.kept = len(quantized)
    return Reading(name, replace(score, notes=tuple(quantized), length_ticks=length), counts)


def _meter(part: Any) -> Meter:
    signatures = {(s.numerator, s.denominator) for s in part.recurse().getElementsByClass("TimeSignature")}
    if len(signatures) != 1:  # for a bar that is too long, music21 also inserts a meter change
        raise InvalidScoreError("no meter, a meter that changes, or a bar that is too long")
    return Meter(*signatures.pop())


def _last_endings(part: Any, counts: NoteCounts) -> Iterator[Bar]:
    """The bars of a part, with the last of several endings only."""
    brackets = list(part.recurse().getElementsByClass("RepeatBracket"))
    left_out = {
        id(measure)
        for bracket, later in pairwise(brackets)
        if int(later.number) > int(bracket.number)
        for measure in bracket.getSpannedElements()
    }
    for measure in part.getElementsByClass("Measure"):
        if id(measure) in left_out:
            own = NoteCounts()
            own.written += _count_onsets([_bar(measure, own)])
            counts.written += own.written
            counts.left_out["earlier_ending"] += own.written
        else:
            yield _bar(measure, counts)


def _bar(measure: Any, counts: NoteCounts) -> Bar:
    """The highest notes of a measure; lower notes are counted as left out."""
    from music21 import chord, harmony

    tones: list[Tone] = []
    for element in measure.flatten().notes:
        if isinstance(element, harmony.ChordSymbol):
            counts.other["chord_symbols"] += 1
            continue
        if element.duration.isGrace or not element.quarterLength:
            counts.left_out["grace"] += len(element.pitches)
            counts.written += len(element.pitches)
            continue
        tone = element
        if isinstance(element, chord.Chord):
            tone = max(element.notes, key=lambda note: int(note.pitch.midi))
            lower = sum(not _is_tied(note.tie or element.tie) for note in element.notes if note is not tone)
            counts.left_out["chord"] += lower
            counts.written += lower
        tied = _is_tied(tone.tie or element.tie)
        tones.append(Tone(_ticks(element.offset), _ticks(element.quarterLength), int(tone.pitch.midi), tied))
    starts_part, ends_part = measure.leftBarline is not None, measure.rightBarline is not None
    return Bar(_ticks(measure.duration.quarterLength), tuple(tones), starts_part, ends_part)


def _is_tied(tie: Any) -> bool:
    return tie is not None and tie.type in ("continue", "stop")


def _count_onsets(bars: Sequence[Bar]) -> int:
    """Number of notes that start in consecutive bars; tied notes count once."""
    count = 0
    pitch: int | None = None  # of the previous note
    end = 0  # of the previous note, from the start of the bar
    for bar in bars:
        for tone in bar.tones:
            count += not (tone.tied and (pitch, end) == (tone.pitch, tone.onset))
            pitch, end = tone.pitch, tone.onset + tone.duration
        end -= bar.ticks
    return count


def _append(notes: list[Note], bar: Bar, start: int) -> None:
    """Append the notes of a bar that starts at `start`; a note that still sounds there is shortened."""
    for tone in bar.tones:
        onset = start + tone.onset
        if notes and notes[-1].end > onset:
            if notes[-1].onset >= onset:
                raise InvalidScoreError(_BAD_BARS)  # a pickup longer than the note before it
            notes[-1] = notes[-1]._replace(duration=onset - notes[-1].onset)
        if tone.tied and notes and (notes[-1].pitch, notes[-1].end) == (tone.pitch, onset):
            notes[-1] = notes[-1]._replace(duration=notes[-1].duration + tone.duration)
        else:
            notes.append(Note(onset, tone.duration, tone.pitch))


def _ticks(quarters: Any) -> int:
    ticks: int = round(quarters * TICKS_PER_QUARTER)
    return ticks
