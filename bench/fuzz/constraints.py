"""Checks that the written notes of a piece obey the constraints of its request."""

from itertools import combinations, islice, pairwise

from bench.fuzz.facts import TICKS_PER_QUARTER
from bench.fuzz.frame import Frame
from bench.fuzz.given import Sound
from fantasia.v1 import generation_pb2 as pb
from music.harmony import parse_chord, parse_scale


def constraint_problems(frame: Frame, written: list[Sound], notes: list[Sound], length: int) -> list[str]:
    """How the written notes of a piece break the constraints; empty if they do not.

    Rests, parallels and endings are only checked where the given notes are on the grid.

    Args:
        frame: of the request.
        written: the written notes.
        notes: all notes, in ticks from the start of the given piece.
        length: of the piece, the given part included.
    """
    constraints = frame.request.constraints
    problems = _pitch_problems(frame, written)
    problems += _chord_problems(frame, written, length)
    if constraints.no_rests and frame.is_on_grid:
        problems += _rest_problems(frame, notes, length)
    if constraints.no_parallels and frame.is_on_grid and not frame.request.omit_given:
        problems += _parallel_problems(frame, notes, length)
    if constraints.natural_ending and frame.is_on_grid and length > frame.given_length:
        problems += _ending_problems(frame, notes, length)
    return problems


def _scale(frame: Frame) -> tuple[frozenset[int], int | None]:
    """Pitch classes and tonic."""
    constraints = frame.request.constraints
    match constraints.WhichOneof("pitches"):
        case "scale":
            scale = parse_scale(constraints.scale)
            return scale.pitch_classes, scale.tonic
        case "pitch_classes":
            return frozenset(constraints.pitch_classes.values), None
        case _:
            return frozenset(range(12)), None


def _pitch_problems(frame: Frame, written: list[Sound]) -> list[str]:
    scale, _ = _scale(frame)
    ranges = {each.voice: (each.lowest, each.highest) for each in frame.request.constraints.ranges}
    for note in written:
        if note.pitch % 12 not in scale:
            return [f"a written note is out of the scale: {note}"]
        for low, high in (frame.model.ranges[note.voice], ranges.get(note.voice, (0, 127))):
            if not low <= note.pitch <= high:
                return [f"a written note is out of range: {note}"]
    return []


def _has_bass(frame: Frame, note: Sound, bass: int, place: tuple[int, int], written: list[Sound]) -> bool:
    """Whether a note under a chord with a bass may stand there.

    The lowest of several voices has the bass. Where it can have several notes at a time, the others are not below the
    lowest bass note that has begun.

    Args:
        frame: of the request.
        note: written under the chord.
        bass: pitch class.
        place: first tick of the chord, and the tick after its last one.
        written: all notes.
    """
    last = frame.model.voices - 1
    if last == 0 or note.voice != last or note.pitch % 12 == bass:
        return True
    return frame.model.message.tokenizer == "events" and any(
        other.voice == last
        and other.pitch % 12 == bass
        and other.pitch < note.pitch
        and other.onset <= note.onset
        and other.onset < place[1]
        and place[0] < other.end
        for other in written
    )


def _chord_problems(frame: Frame, written: list[Sound], length: int) -> list[str]:
    progression, bars = frame.request.constraints.chords, frame.bars
    if not progression.chords:
        return []
    place = bars.start(1)
    if progression.HasField("first_bar"):
        place = bars.start(progression.first_bar)
    elif 0 < frame.given_length < length or (frame.given_length and frame.request.HasField("open")):
        place = bars.line_from(frame.given_length)
    units = bars.units(place, beats=progression.unit == pb.CHORD_UNIT_BEAT)
    place = next(units)
    step, index = frame.model.step_ticks, 0
    while place < length and not (progression.once and index == len(progression.chords)):
        chord = progression.chords[index % len(progression.chords)]
        parsed = parse_chord(chord.symbol) if chord.WhichOneof("tones") == "symbol" else None
        tones = parsed.pitch_classes if parsed else frozenset(chord.pitch_classes.values)
        end = next(islice(units, (chord.length or 1) - 1, None))
        # Within a step of a border that is off the grid, either chord may hold.
        inner = place if place % step == 0 else place + step, end if end % step == 0 else end - step
        for note in written:
            if note.onset < inner[1] and inner[0] < note.end:
                if note.pitch % 12 not in tones:
                    return [f"a written note is no tone of chord {index}: {note}"]
                bass = None if parsed is None else parsed.bass
                if bass is not None and not _has_bass(frame, note, bass, inner, written):
                    return [f"a written note is not the bass of chord {index}: {note}"]
        place, index = end, index + 1
    return []


def _grid(frame: Frame, notes: list[Sound], length: int) -> list[list[int | None]]:
    """The pitch that sounds at each step in each voice of the model."""
    step = frame.model.step_ticks
    grid: list[list[int | None]] = [[None] * frame.model.voices for _ in range(length // step)]
    for note in notes:
        for place in range(note.onset // step, min(-(-note.end // step), len(grid))):
            grid[place][note.voice] = note.pitch
    return grid


def _rest_problems(frame: Frame, notes: list[Sound], length: int) -> list[str]:
    step = frame.model.step_ticks
    for place, sounding in enumerate(_grid(frame, notes, length)):
        for voice, pitch in enumerate(sounding):
            if frame.request.omit_given and place * step < frame.given_length:
                continue
            if pitch is None and frame.is_written(place * step, voice):
                return [f"voice {voice} rests at tick {place * step}"]
    return []


def _parallel_problems(frame: Frame, notes: list[Sound], length: int) -> list[str]:
    step = frame.model.step_ticks
    for place, (before, after) in enumerate(pairwise(_grid(frame, notes, length)), 1):
        for upper, lower in combinations(range(frame.model.voices), 2):
            a, b, c, d = before[upper], before[lower], after[upper], after[lower]
            if a is None or b is None or c is None or d is None or (c - a) * (d - b) <= 0:
                continue
            is_written = any(
                any(note.voice == voice and note.onset == place * step for note in notes)
                and frame.is_written(place * step, voice)
                for voice in (upper, lower)
            )
            if is_written and (a - b) % 12 == (c - d) % 12 and (a - b) % 12 in (0, 7):
                return [f"voices {upper} and {lower} make parallels at tick {place * step}"]
    return []


def _ending_problems(frame: Frame, notes: list[Sound], length: int) -> list[str]:
    _, tonic = _scale(frame)
    last = sorted((note for note in notes if note.end == length), key=lambda note: note.voice)
    problem = [f"the ending is {last}"]
    if [note.voice for note in last] != list(range(frame.model.voices)):
        return problem
    if len({note.onset for note in last}) > 1 or last[0].duration < TICKS_PER_QUARTER:
        return problem
    bass = last[-1].pitch
    if tonic is not None and bass % 12 != tonic:
        return problem
    if len(last) == 1:
        return []
    tones = {(note.pitch - bass) % 12 for note in last}
    is_triad = tones <= {0, 4, 7} or tones <= {0, 3, 7}
    # Voices may cross: the lowest note has the root, in whatever voice.
    lowest = min(note.pitch for note in last)
    return [] if is_triad and (lowest - bass) % 12 == 0 else problem
