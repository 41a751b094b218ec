"""Writes pieces as MusicXML, for notation programs. It needs music21, which the extra `notation` installs.

Each voice becomes a part. Notes outside a bar's rhythm are moved to the nearest place that can be written: see
`_GRIDS`. The key is not known, so music21 estimates it (Krumhansl and Schmuckler); it decides the spelling of notes.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from fantasia_client.bars import Bars
from fantasia_client.errors import MissingExtraError
from fantasia_client.types import Meter, MeterChange, Note, Piece, TempoChange

try:
    from music21 import chord, clef, duration, instrument, key, metadata, meter, note, pitch, stream, tempo, tie
    from music21.common.types import StepName
    from music21.musicxml.m21ToXml import GeneralObjectExporter
except ImportError as error:
    raise MissingExtraError(
        "MusicXML needs music21, which is not installed: pip install 'fantasia-client[notation]'"
    ) from error

_GRIDS = (4, 6, 8, 12)
"""Places in a quarter note: sixteenths, sixteenth triplets, thirty-seconds, thirty-second triplets.

Every quarter note of a part uses the coarsest grid that has all its onsets and ends, or else the nearest grid.
"""
_LENGTHS_IN_TRIPLETS = (8, 6, 4, 3, 2, 1)
"""Lengths in twelfths of a quarter note that one note can have inside a quarter note with triplets."""

_ENCODING_DATE = re.compile(rb"\s*<encoding-date>[^<]*</encoding-date>")
"""The day on which the file was written. Without it, equal pieces have equal files."""

_TIE = {(False, True): "start", (True, True): "continue", (True, False): "stop"}


def render_musicxml(piece: Piece) -> bytes:
    """Write the piece and return the bytes of a MusicXML file. The same piece gives the same bytes.

    Args:
        piece: generated piece.
    """
    return write_musicxml(
        piece.notes,
        meter=piece.meter,
        ticks_per_quarter=piece.ticks_per_quarter,
        length_ticks=piece.length_ticks,
        tempo_bpm=piece.tempo_bpm,
        programs=piece.programs,
        pickup_ticks=piece.pickup_ticks,
        tempo_changes=piece.tempo_changes,
        meter_changes=piece.meter_changes,
        title=f"{piece.model}, seed {piece.seed}",
    )


def write_musicxml(
    notes: Sequence[Note],
    *,
    meter: Meter,
    ticks_per_quarter: int,
    length_ticks: int,
    tempo_bpm: float,
    programs: Sequence[int],
    pickup_ticks: int = 0,
    tempo_changes: Sequence[TempoChange] = (),
    meter_changes: Sequence[MeterChange] = (),
    title: str = "",
) -> bytes:
    """Write notes as a MusicXML file.

    Args:
        notes: notes in any order.
        meter: time signature at the start.
        ticks_per_quarter: ticks in a quarter note.
        length_ticks: end of the piece in ticks; the last bar is filled with rests.
        tempo_bpm: quarter notes per minute.
        programs: General MIDI program of each voice; a voice without notes has rests.
        pickup_ticks: length of an incomplete bar before the first full bar, less than a bar; 0 for none.
        tempo_changes: later tempos; those after the last bar are left out.
        meter_changes: later time signatures, in the order of their ticks. Each begins a bar, at the nearest sixteenth;
            those after the last bar are left out.
        title: title of the score.
    """
    end = max([length_ticks, *(item.onset_ticks + item.duration_ticks for item in notes)], default=0)
    pickup = Fraction(pickup_ticks, ticks_per_quarter)
    changes = _written_changes(meter_changes, pickup, ticks_per_quarter)
    bars = Bars(meter, Fraction(end, ticks_per_quarter), pickup=pickup, changes=changes)
    score = stream.Score()
    score.metadata = metadata.Metadata(movementName=title, composer="Fantasia")
    voices: dict[int, list[Note]] = defaultdict(list)
    for item in notes:
        voices[item.voice].append(item)
    signature = _estimate_key(notes, ticks_per_quarter)
    for voice in range(max([len(programs), *(voice + 1 for voice in voices)])):
        events = _quantize(voices[voice], bars, ticks_per_quarter)
        part = _part(events, bars, signature)
        program = programs[min(voice, len(programs) - 1)] if programs else 0
        part.insert(0, _instrument(program, voice))
        part.partName = f"Voice {voice + 1}"
        part.id = f"P{voice + 1}"
        if voice == 0:
            _mark_tempos(part, [TempoChange(0, tempo_bpm), *tempo_changes], bars, ticks_per_quarter)
        score.insert(0, part)
    return _ENCODING_DATE.sub(b"", bytes(GeneralObjectExporter(score).parse()), count=1)


@dataclass(frozen=True)
class _Event:
    """Pitches that start and end together, in quarter notes from the start of the piece."""

    start: Fraction
    end: Fraction
    pitches: tuple[int, ...]


@dataclass(frozen=True)
class _Rhythm:
    """Layers of events that do not overlap, and the beats (their starts) that have triplets."""

    layers: list[list[_Event]]
    triplets: set[Fraction]


def _quantize(notes: Sequence[Note], bars: Bars, ticks_per_quarter: int) -> _Rhythm:
    """Move the notes of one part to times that can be written, and sort them into layers without overlaps."""
    times = [
        (Fraction(item.onset_ticks, ticks_per_quarter),
         Fraction(item.onset_ticks + item.duration_ticks, ticks_per_quarter), item.pitch)
        for item in notes
    ]  # fmt: skip
    inside: dict[Fraction, list[Fraction]] = defaultdict(list)
    for start, end, _ in times:
        for time in (start, end):
            beat, _ = bars.beat_of(time)
            inside[beat].append(time - beat)
    grids = {beat: _grid(offsets) for beat, offsets in inside.items()}
    triplets = {beat for beat, grid in grids.items() if grid % 3 == 0}

    def snap(time: Fraction) -> Fraction:
        beat, end = bars.beat_of(time)
        return min(beat + Fraction(round((time - beat) * grids[beat]), grids[beat]), end)

    sounding: dict[tuple[Fraction, Fraction], set[int]] = defaultdict(set)
    for start, end, number in times:
        # A note of the last instant, which would move to the end of the piece, starts a little before it.
        first = min(snap(start), bars.end - Fraction(1, 12 if bars.beat_of(start)[0] in triplets else 8))
        last = max(snap(end), first + Fraction(1, grids.get(bars.beat_of(first)[0], _GRIDS[0])))
        last = min(last, bars.end)
        sounding[first, last].add(number)
    layers: list[list[_Event]] = []
    for (start, end), pitches in sorted(sounding.items(), key=lambda item: (item[0][0], -max(item[1]), item[0][1])):
        event = _Event(start, end, tuple(sorted(pitches)))
        layer = next((layer for layer in layers if layer[-1].end <= start), None)
        if layer is None:
            layers.append([event])
        else:
            layer.append(event)
    return _Rhythm(layers or [[]], triplets)


def _grid(offsets: Sequence[Fraction]) -> int:
    """The grid on which times within a quarter note move least; the coarsest of equal ones."""
    return min(_GRIDS, key=lambda grid: (max(abs(time * grid - round(time * grid)) / grid for time in offsets), grid))


def _part(rhythm: _Rhythm, bars: Bars, signature: key.KeySignature) -> stream.Part:
    part = stream.Part()
    for index in range(bars.count):
        start, end = bars.span(index)
        measure = stream.Measure(number=index if bars.pickup else index + 1)
        if bars.is_new_meter(index):
            measure.timeSignature = meter.TimeSignature(str(bars.meter(index)))
        if index == 0:
            measure.keySignature = key.KeySignature(signature.sharps)
            measure.clef = _clef(rhythm)
        if index == 0 and bars.pickup:
            measure.paddingLeft = float(bars.missing(index))
            measure.showNumber = stream.enums.ShowNumber.NEVER
        else:
            measure.paddingRight = float(bars.missing(index))
        layers = [_inside(layer, start, end) for layer in rhythm.layers]
        used = [layer for layer in layers if layer] or [[]]
        for number, layer in enumerate(used):
            target: stream.Measure | stream.Voice = measure
            if len(used) > 1:
                target = stream.Voice()
                target.id = number + 1
            for offset, element in _elements(layer, start, end, bars, rhythm.triplets, signature):
                target.insert(offset, element)
            if target is not measure:
                measure.insert(0, target)
        part.insert(start, measure)
    return part


def _written_changes(
    changes: Sequence[MeterChange], pickup: Fraction, ticks_per_quarter: int
) -> list[tuple[Fraction, Meter]]:
    """The times of changes, moved to the nearest sixteenths, so that bars which they cut short can be written."""
    written: list[tuple[Fraction, Meter]] = []
    least = pickup
    for change in changes:
        sixteenth = Fraction(round(Fraction(4 * change.tick, ticks_per_quarter)), 4)
        least = max(sixteenth, least + Fraction(1, 4))
        written.append((least, change.meter))
    return written


def _mark_tempos(part: stream.Part, tempos: Sequence[TempoChange], bars: Bars, ticks_per_quarter: int) -> None:
    measures = list(part.getElementsByClass(stream.Measure))
    for change in tempos:
        time = Fraction(change.tick, ticks_per_quarter)
        if time < bars.end:
            index = bars.bar_of(time)
            mark = tempo.MetronomeMark(number=change.tempo_bpm, referent=duration.Duration(1.0))
            measures[index].insert(time - bars.span(index)[0], mark)


def _inside(layer: Sequence[_Event], start: Fraction, end: Fraction) -> list[_Event]:
    return [event for event in layer if event.start < end and start < event.end]


def _elements(
    layer: Sequence[_Event],
    start: Fraction,
    end: Fraction,
    bars: Bars,
    triplets: set[Fraction],
    signature: key.KeySignature,
) -> Iterator[tuple[Fraction, note.GeneralNote]]:
    """(offset in the bar, note, chord or rest) of one layer in one bar. Together they fill the bar."""
    if not layer and not bars.missing(bars.bar_of(start)):
        rest = note.Rest(quarterLength=end - start)
        rest.fullMeasure = True
        yield Fraction(0), rest
        return
    now = start
    for event in [*layer, _Event(end, end, ())]:
        for first, last in _written(now, max(event.start, start), bars, triplets):
            yield first - start, note.Rest(quarterLength=last - first)
        now = max(event.start, start)
        for first, last in _written(now, min(event.end, end), bars, triplets):
            tied = _TIE.get((first > event.start, last < event.end))
            yield first - start, _sound(event.pitches, last - first, tied, signature)
            now = last


def _written(
    start: Fraction, end: Fraction, bars: Bars, triplets: set[Fraction]
) -> Iterator[tuple[Fraction, Fraction]]:
    """Cut a time within a bar into parts that one note or rest can have each."""
    now = start
    while now < end:
        beat, beat_end = bars.beat_of(now)
        if beat in triplets and (now > beat or end < beat_end):
            left = min(end, beat_end) - now
            length = next(Fraction(n, 12) for n in _LENGTHS_IN_TRIPLETS if Fraction(n, 12) <= left)
        else:
            # Whole beats together, up to the next beat that has to be cut. A note that starts inside a beat ends with
            # it, so that one sees the beats; the exception is a quarter note from half to half.
            stop = min(beat_end, end)
            syncopated = now - beat == Fraction(1, 2) and end - now == 1
            while stop < end and (now == beat or syncopated):
                following, following_end = bars.beat_of(stop)
                if following in triplets and end < following_end:
                    break
                stop = min(following_end, end)
            length = _longest(stop - now)
        yield now, now + length
        now += length


def _longest(left: Fraction) -> Fraction:
    """The longest single note, plain or with one dot, of at most this length; the rest if none is so short."""
    for power in range(2, -5, -1):
        plain = Fraction(2) ** power
        for length in (plain * Fraction(3, 2), plain):
            if length <= left:
                return length
    return left


def _sound(pitches: Sequence[int], length: Fraction, tied: str | None, signature: key.KeySignature) -> note.NotRest:
    spelled = [_spell(number, signature) for number in pitches]
    sound: note.NotRest
    if len(spelled) == 1:
        sound = note.Note(spelled[0], quarterLength=length)
    else:
        sound = chord.Chord(spelled, quarterLength=length)
    if tied:
        sound.tie = tie.Tie(tied)
    return sound


def _spell(number: int, signature: key.KeySignature) -> pitch.Pitch:
    """The name that fits the key, with C on 0 of the line of fifths: E flat to G sharp without a key signature.

    So the leading note of the minor key is a sharp.
    """
    fifths = 7 * number % 12
    lowest = int(signature.sharps or 0) - 3
    fifths += 12 * ((lowest - fifths + 11) // 12)
    alteration = (fifths + 1) // 7
    names: tuple[StepName, ...] = ("F", "C", "G", "D", "A", "E", "B")
    octave = (number - alteration) // 12 - 1
    return pitch.Pitch(step=names[(fifths + 1) % 7], accidental=alteration or None, octave=octave)


def _estimate_key(notes: Sequence[Note], ticks_per_quarter: int) -> key.KeySignature:
    """The key signature of the piece's likely key; C major without notes."""
    line = stream.Part()
    for item in notes:
        line.insert(
            item.onset_ticks / ticks_per_quarter,
            note.Note(item.pitch, quarterLength=item.duration_ticks / ticks_per_quarter),
        )
    return key.KeySignature(line.analyze("key").sharps if notes else 0)


def _clef(rhythm: _Rhythm) -> clef.Clef:
    numbers = [number for layer in rhythm.layers for event in layer for number in event.pitches]
    return clef.BassClef() if numbers and sum(numbers) / len(numbers) < 57 else clef.TrebleClef()


def _instrument(program: int, voice: int) -> instrument.Instrument:
    played = instrument.instrumentFromMidiProgram(program)
    played.midiProgram = program
    played.midiChannel = (*range(9), *range(10, 16))[voice % 15]  # channel 10 is for drums
    played.partId = f"P{voice + 1}"
    played.instrumentId = f"P{voice + 1}-I1"
    return played
