"""Tunes from ABC files: one line of notes each, on a grid of 16ths, with the bars that the notation means.

A dance tune in ABC is written in parts that are repeated, often with a first and a second ending, and a part may
begin with a pickup that the bar before it has not made room for. Here every part is written down once, with its
last ending, and every whole bar begins a whole number of bars after the pickup, so that a clock can follow.
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
"""Meters of tunes that are kept: what is left has a handful of tunes each, too few to learn from."""

_FEWEST_BARS: Final = 4
_MOST_MOVED: Final = 0.25
_TEMPO_BPM: Final = 180.0
_MISBARRED: Final = "bars that do not add up"


@dataclass(frozen=True, slots=True)
class Tone:
    """A note inside its bar, in ticks; `held` where a tie leads to it from a note of the same pitch."""

    onset: int
    duration: int
    pitch: int
    held: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """What stands between two bar lines; `opens` and `closes` say whether those are double or repeat signs."""

    ticks: int
    tones: tuple[Tone, ...]
    opens: bool = False
    closes: bool = False


def read_tunes(path: Path, name: str) -> FileReadings:
    """Read every tune of an ABC file with music21; a tune is known as `name#number`.

    Left out are grace notes, lower notes of chords (`chord`) and endings that another one follows
    (`earlier_ending`); changed are notes moved by `level` (`off_grid`). Chord symbols are counted beside notes.

    Raises:
        InvalidScoreError: the file is no ABC.
        OSError: the file cannot be read.
    """
    from music21 import abcFormat  # slow to import, and only the readers need it
    from music21.abcFormat.translate import abcToStreamScore

    text = path.read_text(encoding="utf-8", errors="replace")
    readings: list[Reading] = []
    skipped: dict[str, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tunes: dict[Any, Any] = abcFormat.ABCFile().readstr(text).splitByReferenceNumber()
        except Exception as error:  # music21 raises whatever its parsers meet
            tunes = _read_apart(text, name, skipped)
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


def _read_apart(text: str, name: str, skipped: dict[str, str]) -> dict[int, Any]:
    """music21's handlers of those tunes of a file that it can read, by number; the others go to `skipped`."""
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
        except Exception as error:  # music21 raises whatever its parsers meet
            skipped[f"{name}#{tune.label}"] = f"music21 cannot read it ({type(error).__name__})"
    return handlers


def place(bars: Sequence[Bar], meter: Meter) -> tuple[list[Note], int, int]:
    """Put bars one after the other so that every whole one begins on a bar line.

    A short first bar is the pickup. Two short bars that make a whole one are its halves. A short bar that opens a
    part, after a bar that is whole, is a pickup that players take out of the note before it: that note is cut.
    A short bar that closes a part is filled up with silence.

    Returns:
        Notes of one voice, the length in ticks, and the length of the pickup.

    Raises:
        InvalidScoreError: a bar is too long, or short for none of these reasons.
    """
    whole = meter.bar_ticks
    notes: list[Note] = []
    line = pickup = bars[0].ticks if bars[0].ticks < whole else 0  # `line`: where the next whole bar begins
    if pickup:
        _sound(notes, bars[0], 0)
    index = 1 if pickup else 0
    while index < len(bars):
        bar = bars[index]
        following = bars[index + 1] if index + 1 < len(bars) else None
        opens = bar.opens or bars[index - 1].closes
        closes = bar.closes or (following is not None and following.opens)
        index += 1
        if bar.ticks == whole:
            _sound(notes, bar, line)
            line += whole
        elif bar.ticks > whole:
            raise InvalidScoreError(_MISBARRED)
        elif following is None:
            _sound(notes, bar, line)
            line += bar.ticks
        elif bar.ticks + following.ticks == whole:
            _sound(notes, bar, line)
            _sound(notes, following, line + bar.ticks)
            line += whole
            index += 1
        elif opens and not closes:
            _sound(notes, bar, line - bar.ticks)
        elif closes and not opens:
            _sound(notes, bar, line)
            line += whole
        else:
            raise InvalidScoreError(_MISBARRED)
    return notes, line, pickup


def level(notes: Sequence[Note]) -> tuple[list[Note], int]:
    """Move every beginning and end back to the grid; the second value counts the notes that this changes.

    A triplet of eighths so becomes two 16ths and an eighth, as players often write the same figure, and a dotted
    16th with its 32nd becomes two 16ths.

    Raises:
        InvalidScoreError: two notes would begin together, or more than a quarter of all would change.
    """
    levelled = []
    for note in notes:
        onset, end = (time // STEP_TICKS * STEP_TICKS for time in (note.onset, note.end))
        levelled.append(note._replace(onset=onset, duration=end - onset))
    if any(not note.duration for note in levelled):
        raise InvalidScoreError("notes shorter than a 16th")
    moved = sum(before != after for before, after in zip(notes, levelled, strict=True))
    if moved > _MOST_MOVED * len(notes):
        raise InvalidScoreError("more than a quarter of the notes off the grid of 16ths")
    return levelled, moved


def in_longer_values(score: Score) -> Score:
    """A tune in 2/4, which moves in 16ths, as 2/2, which moves in eighths: the same dance in the other notation."""
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
    counts.struck += _begins(bars)
    if len(bars) < _FEWEST_BARS:
        raise InvalidScoreError(f"fewer than {_FEWEST_BARS} bars")
    notes, length, pickup = place(bars, meter)
    if not notes:
        raise InvalidScoreError("no pitched note in it")
    key = next((int(key.sharps) for key in part.recurse().getElementsByClass("KeySignature")), None)
    score = Score(tuple(notes), length, meter, pickup, _TEMPO_BPM, key)
    if meter == Meter(2, 4):
        score = in_longer_values(score)
    if score.meter not in METERS:
        raise InvalidScoreError("a meter that hardly any tune has")
    if score.pickup_ticks % STEP_TICKS:
        raise InvalidScoreError("a pickup off the grid of 16ths")
    levelled, moved = level(score.notes)
    if moved:
        counts.changed["off_grid"] += moved
    length = -(-score.length_ticks // STEP_TICKS) * STEP_TICKS
    counts.kept = len(levelled)
    return Reading(name, replace(score, notes=tuple(levelled), length_ticks=length), counts)


def _meter(part: Any) -> Meter:
    signatures = {(s.numerator, s.denominator) for s in part.recurse().getElementsByClass("TimeSignature")}
    if len(signatures) != 1:  # music21 writes a change of meter for a bar that is too long, too
        raise InvalidScoreError("no meter, one that changes, or a bar longer than it says")
    return Meter(*signatures.pop())


def _last_endings(part: Any, counts: NoteCounts) -> Iterator[Bar]:
    """The bars of a part without the endings that another one follows."""
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
            own.struck += _begins([_bar(measure, own)])
            counts.struck += own.struck
            counts.left_out["earlier_ending"] += own.struck
        else:
            yield _bar(measure, counts)


def _bar(measure: Any, counts: NoteCounts) -> Bar:
    """The highest notes of a measure; the others are counted as struck and left out."""
    from music21 import chord, harmony

    tones: list[Tone] = []
    for element in measure.flatten().notes:
        if isinstance(element, harmony.ChordSymbol):
            counts.other["chord_symbols"] += 1
            continue
        if element.duration.isGrace or not element.quarterLength:
            counts.left_out["grace"] += len(element.pitches)
            counts.struck += len(element.pitches)
            continue
        tone = element
        if isinstance(element, chord.Chord):
            tone = max(element.notes, key=lambda note: int(note.pitch.midi))
            lower = sum(not _held(note.tie or element.tie) for note in element.notes if note is not tone)
            counts.left_out["chord"] += lower
            counts.struck += lower
        held = _held(tone.tie or element.tie)
        tones.append(Tone(_ticks(element.offset), _ticks(element.quarterLength), int(tone.pitch.midi), held))
    opens, closes = measure.leftBarline is not None, measure.rightBarline is not None
    return Bar(_ticks(measure.duration.quarterLength), tuple(tones), opens, closes)


def _held(tie: Any) -> bool:
    return tie is not None and tie.type in ("continue", "stop")


def _begins(bars: Sequence[Bar]) -> int:
    """How many notes begin in consecutive bars, a tied one once."""
    count = 0
    pitch: int | None = None  # of the note before
    end = 0  # of the note before, counted from the beginning of the bar
    for bar in bars:
        for tone in bar.tones:
            count += not (tone.held and (pitch, end) == (tone.pitch, tone.onset))
            pitch, end = tone.pitch, tone.onset + tone.duration
        end -= bar.ticks
    return count


def _sound(notes: list[Note], bar: Bar, start: int) -> None:
    """Add the notes of a bar that begins at `start`; a note that still sounds there is cut."""
    for tone in bar.tones:
        onset = start + tone.onset
        if notes and notes[-1].end > onset:
            if notes[-1].onset >= onset:
                raise InvalidScoreError(_MISBARRED)  # a pickup longer than the note that it is taken from
            notes[-1] = notes[-1]._replace(duration=onset - notes[-1].onset)
        if tone.held and notes and (notes[-1].pitch, notes[-1].end) == (tone.pitch, onset):
            notes[-1] = notes[-1]._replace(duration=notes[-1].duration + tone.duration)
        else:
            notes.append(Note(onset, tone.duration, tone.pitch))


def _ticks(quarters: Any) -> int:
    ticks: int = round(quarters * TICKS_PER_QUARTER)
    return ticks
