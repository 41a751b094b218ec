"""Converts a score parsed by music21 to a `WrittenScore`."""

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Final

from music.errors import InvalidScoreError
from music.score import DEFAULT_VELOCITY
from training.readers.play_order import BarMarks
from training.readers.written import WrittenBar, WrittenNote, WrittenPart, WrittenScore, bar_at

_DRUM_CHANNEL: Final = 9  # counted from 0, as music21 does
_MAX_DENOMINATOR: Final = 10**5


def written_score(score: Any) -> WrittenScore:
    """Convert notes, bars and signs of a music21 score, at sounding pitch.

    The part with the most bars defines the bars. The offset of a note decides its bar.

    Raises:
        InvalidScoreError: a time in it is not a number.
    """
    parts = list(getattr(score, "parts", ())) or [score]
    if any(part.recurse().getElementsByClass("Instrument") and _transposes(part) for part in parts):
        score.toSoundingPitch(inPlace=True)
        parts = list(getattr(score, "parts", ())) or [score]
    measures = max((list(part.getElementsByClass("Measure")) for part in parts), key=len)
    starts = [_quarters(measure.offset) for measure in measures] or [Fraction()]
    end = max(_quarters(score.highestTime), starts[-1])
    lengths = [after - start for start, after in zip(starts, [*starts[1:], end], strict=True)]
    if any(length < 0 for length in lengths):
        raise InvalidScoreError("its bars are not in order")
    marks = [BarMarks() for _ in starts]
    for part in parts:
        _read_marks(part, marks)
    tempos = [mark.getQuarterBPM() for mark in score.flatten().getElementsByClass("MetronomeMark")]
    return WrittenScore(
        parts=[_part(part, starts) for part in parts],
        lengths=lengths,
        marks=marks,
        tempos=[float(bpm) for bpm in tempos if bpm],
    )


def _transposes(part: Any) -> bool:
    return any(instrument.transposition is not None for instrument in part.recurse().getElementsByClass("Instrument"))


def _part(part: Any, starts: list[Fraction]) -> WrittenPart:
    flat = part.flatten()
    bars = [WrittenBar() for _ in starts]
    drums = any(getattr(instrument, "midiChannel", None) == _DRUM_CHANNEL for instrument in flat["Instrument"])
    for element in flat.notes:
        time = _quarters(element.offset)
        index = bar_at(starts, time)
        _read_element(element, time - starts[index], bars[index], drums=drums)
    programs = (instrument.midiProgram for instrument in flat.getElementsByClass("Instrument"))
    return WrittenPart(
        name=part.partName or "" if hasattr(part, "partName") else "",
        bars=bars,
        meters=[(meter.numerator, meter.denominator) for meter in flat.getElementsByClass("TimeSignature")],
        keys=[int(key.sharps) for key in flat.getElementsByClass("KeySignature")],
        program=next((int(program) for program in programs if program is not None), None),
    )


def _read_element(element: Any, offset: Fraction, bar: WrittenBar, *, drums: bool) -> None:
    from music21 import harmony, note, percussion

    if isinstance(element, harmony.Harmony):
        return
    tones = list(_tones(element))
    bar.note_heads += len(tones)
    reason = None
    if element.duration.isGrace:
        reason = "grace"
    elif drums or isinstance(element, note.Unpitched | percussion.PercussionChord):
        reason = "percussion"
    elif element.quarterLength == 0:
        reason = "no_duration"
    if reason is not None:
        bar.left_out[reason] += len(tones)
        return
    for tone in tones:
        tie = (tone.tie or element.tie).type if tone.tie or element.tie else None
        loudness = tone.volume.velocity or element.volume.velocity
        bar.notes.append(
            WrittenNote(
                offset,
                _quarters(element.quarterLength),
                int(tone.pitch.midi),
                ends_tie=tie in ("continue", "stop"),
                starts_tie=tie in ("continue", "start"),
                velocity=min(max(int(loudness), 1), 127) if loudness else DEFAULT_VELOCITY,
            )
        )


def _tones(element: Any) -> Iterator[Any]:
    """The note heads of a note or chord."""
    from music21 import chord, percussion

    if isinstance(element, chord.Chord | percussion.PercussionChord):
        yield from element.notes
    else:
        yield element


def _read_marks(part: Any, marks: list[BarMarks]) -> None:
    measures = list(part.getElementsByClass("Measure"))
    for measure, mark in zip(measures, marks, strict=False):
        left, right = measure.leftBarline, measure.rightBarline
        mark.repeat_start |= getattr(left, "direction", None) == "start"
        if getattr(right, "direction", None) == "end":
            mark.repeat_times = max(mark.repeat_times, right.times or 2)


def _quarters(value: Any) -> Fraction:
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidScoreError("a time in it is not a number")
    return Fraction(value).limit_denominator(_MAX_DENOMINATOR)
