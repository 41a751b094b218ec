"""Scores in notation formats (MusicXML, Humdrum), through music21."""

import warnings
from pathlib import Path
from typing import Any, Final

from music.errors import InvalidScoreError
from music.note_counts import NoteCounts
from music.score import IN_ORDER, TICKS_PER_QUARTER, Meter, Note, Score, require_length
from training.readers.reading import FileReadings, Reading, ReadOptions

_DRUM_CHANNEL: Final = 9  # counted from 0, as music21 does


def read_notation_file(path: Path, name: str, options: ReadOptions) -> FileReadings:
    """Read every score of a file; most files hold one.

    With `options.parts` given, those whose names begin so become the voices, in that order (a score with exactly as
    many parts and no names is taken as it stands). Otherwise every pitched part is a voice, the highest (by
    mean pitch) first.

    Raises:
        InvalidScoreError: the file cannot be read, no score in it holds a pitched note, or one lasts too long.
    """
    from music21 import converter, exceptions21, stream  # slow to import, and only the readers need it

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parsed = converter.parse(path, forceSource=True)
            streams = list(parsed.scores) if isinstance(parsed, stream.Opus) else [parsed]
            readings = []
            for index, item in enumerate(streams):
                label = name if len(streams) == 1 else f"{name}#{index + 1}"
                readings.append(_read(item, label, options.parts))
    except InvalidScoreError:
        raise
    except (exceptions21.Music21Exception, Exception) as error:  # music21 raises whatever its parsers meet
        raise InvalidScoreError(f"{type(error).__name__}: {error}".splitlines()[0]) from error
    readings = [reading for reading in readings if reading.score.notes]
    if not readings:
        raise InvalidScoreError("no pitched note in it")
    return FileReadings(readings)


def _read(score: Any, name: str, part_names: tuple[str, ...] | None) -> Reading:
    parts = list(score.parts) if hasattr(score, "parts") else []
    parts = parts or [score]
    counts = NoteCounts()
    if part_names is not None:
        parts = _named(parts, part_names)
    meter, pickup_ticks = _meter_and_pickup(parts[0])
    voices = [_notes(part, counts) for part in parts]
    if part_names is None:
        voices = [voice for voice in voices if voice]
        voices.sort(key=lambda voice: -sum(pitch for _, _, pitch, _ in voice) / len(voice))
    notes = [
        Note(onset, duration, pitch, velocity, index)
        for index, voice in enumerate(voices)
        for onset, duration, pitch, velocity in voice
    ]
    notes.sort(key=IN_ORDER)
    counts.kept = len(notes)
    counts.struck = counts.kept + counts.left_out.total()
    length = max([_ticks(score.highestTime), *(note.end for note in notes)])
    require_length(length)
    flat = parts[0].flatten()
    return Reading(
        name,
        Score(
            notes=tuple(notes),
            length_ticks=length,
            meter=meter,
            pickup_ticks=pickup_ticks,
            tempo_bpm=_tempo(score.flatten()),
            key_sharps=next((int(key.sharps) for key in flat.getElementsByClass("KeySignature")), None),
            program=_program(flat),
        ),
        counts,
    )


def _named(parts: list[Any], names: tuple[str, ...]) -> list[Any]:
    chosen = []
    for name in names:
        part = next((part for part in parts if (part.partName or "").startswith(name)), None)
        if part is not None:
            chosen.append(part)
    if len(chosen) == len(names):
        return chosen
    if len(parts) == len(names) and not any(part.partName for part in parts):
        return parts
    raise InvalidScoreError(f"has no parts called {', '.join(names)}")


def _notes(part: Any, counts: NoteCounts) -> list[tuple[int, int, int, int]]:
    """(onset, duration, pitch, velocity) of every note of a part, ties joined and chords taken apart."""
    from music21 import chord, note, percussion

    flat = part.flatten()
    drums = any(getattr(instrument, "midiChannel", None) == _DRUM_CHANNEL for instrument in flat["Instrument"])
    notes: list[tuple[int, int, int, int]] = []
    tied: dict[int, int] = {}  # where in `notes` the pitch stands that a tie leads on from
    for element in flat.notes:
        size = len(getattr(element, "pitches", ())) or 1
        if element.duration.isGrace or element.quarterLength == 0:
            counts.left_out["grace"] += size
            continue
        if drums or isinstance(element, note.Unpitched | percussion.PercussionChord):
            counts.left_out["percussion"] += size
            continue
        onset = _ticks(element.offset)
        end = max(_ticks(element.offset + element.quarterLength), onset + 1)
        for tone in element.notes if isinstance(element, chord.Chord) else (element,):
            pitch = int(tone.pitch.midi)
            tie = (tone.tie or element.tie).type if tone.tie or element.tie else None
            before = tied.pop(pitch, None)
            if tie in ("continue", "stop") and before is not None and sum(notes[before][:2]) == onset:
                first, _, _, velocity = notes[before]
                notes[before] = (first, end - first, pitch, velocity)
                place = before
            else:
                place = len(notes)
                loudness = tone.volume.velocity or element.volume.velocity
                velocity = min(max(int(loudness), 1), 127) if loudness else 80
                notes.append((onset, end - onset, pitch, velocity))
            if tie in ("start", "continue"):
                tied[pitch] = place
    return notes


def _meter_and_pickup(part: Any) -> tuple[Meter | None, int]:
    signatures = {(s.numerator, s.denominator) for s in part.recurse().getElementsByClass("TimeSignature")}
    if len(signatures) != 1:
        return None, 0  # no signature, or one that changes: no clock could follow it
    try:
        meter = Meter(*signatures.pop())
    except InvalidScoreError:
        return None, 0
    measures = list(part.getElementsByClass("Measure"))
    if len(measures) < 2:
        return meter, 0
    first = _ticks(measures[0].duration.quarterLength)
    return meter, first if 0 < first < meter.bar_ticks else 0


def _tempo(flat: Any) -> float:
    for mark in flat.getElementsByClass("MetronomeMark"):
        bpm = mark.getQuarterBPM()
        if bpm and 10 <= bpm <= 400:
            return float(bpm)
    return 100.0


def _program(flat: Any) -> int:
    for instrument in flat.getElementsByClass("Instrument"):
        if instrument.midiProgram is not None:
            return int(instrument.midiProgram)
    return 0


def _ticks(quarters: Any) -> int:
    ticks: int = round(quarters * TICKS_PER_QUARTER)
    return ticks
